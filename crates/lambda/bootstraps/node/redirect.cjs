// Custom resource handlers of CDK and Serverless answer CloudFormation with an `https.request` that is made of the host and
// the path of `ResponseURL` only: TLS on port 443, whatever the URL says. When the URL is plain HTTP, requests to just that
// host go where it points.
'use strict';

let target = null; // the ResponseURL of the current event, when it is plain HTTP
let installed = false;

/** Looks at an event before the handler does. */
function watch(event) {
  target = null;
  if (typeof event?.ResponseURL !== 'string' || !event.ResponseURL.startsWith('http://')) return;
  try {
    target = new URL(event.ResponseURL);
  } catch {
    return;
  }
  if (!installed) install();
  installed = true;
}

function install() {
  const https = require('https');
  const http = require('http');
  const request = https.request;
  https.request = function redirected(...parameters) {
    const options = redirect(parameters);
    if (options === null) return request.apply(this, parameters);
    const callback = parameters.find((one) => typeof one === 'function');
    return http.request(options, callback);
  };
  // `import { request } from 'https'` must see it as well.
  require('module').syncBuiltinESMExports();
}

/** The options of the plain request in place of `https.request(...parameters)`; null when it goes elsewhere. */
function redirect([first, second]) {
  if (target === null) return null;
  const url = typeof first === 'string' ? new URL(first) : first instanceof URL ? first : null;
  const given = (url === null ? first : second) ?? {};
  const options = typeof given === 'function' ? {} : { ...given };
  if (url !== null) {
    options.hostname ??= url.hostname;
    options.path ??= url.pathname + url.search;
  }
  const host = options.hostname ?? options.host;
  const port = url?.port || options.port || 443;
  if (host !== target.hostname || Number(port) !== 443) return null;
  // An agent of https refuses plain requests.
  return { ...options, protocol: 'http:', port: target.port || 80, agent: undefined, defaultPort: 80 };
}

module.exports = { watch };
