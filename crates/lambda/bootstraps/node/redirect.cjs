// Custom resource handlers of CDK and Serverless answer CloudFormation with an `https.request` that is made of the host and
// the path of `ResponseURL` only: TLS on port 443, whatever the URL says. When a custom resource event comes from this
// platform, which speaks plain HTTP, requests to just that host go where the URL points. Nobody else's event takes the TLS
// from a request: whoever may invoke a function must not be able to choose to whom it speaks in the clear.
'use strict';

const { urlToHttpOptions } = require('url');

/** What CloudFormation always sends along (CloudFormation user guide, "Custom resource request objects"). */
const MEMBERS = ['RequestType', 'StackId', 'LogicalResourceId'];
const LOOPBACK = /^(.+\.)?localhost$|^127\.\d+\.\d+\.\d+$|^\[::1\]$/;

let target = null; // the ResponseURL of the current event, when it is plain HTTP to the platform
let installed = false;

/** Looks at an event before the handler does. */
function watch(event) {
  target = null;
  if (typeof event?.ResponseURL !== 'string' || !event.ResponseURL.startsWith('http://')) return;
  if (!MEMBERS.every((member) => typeof event[member] === 'string')) return;
  const url = parsed(event.ResponseURL);
  if (url === null || !isPlatform(url.hostname)) return;
  target = url;
  if (!installed) install();
  installed = true;
}

function parsed(text) {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

/** Whether the platform answers there: on a loopback address, or where the SDKs find it. */
function isPlatform(hostname) {
  return LOOPBACK.test(hostname) || hostname === parsed(process.env.AWS_ENDPOINT_URL ?? '')?.hostname;
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
  const given = url === null ? first : second;
  // As node reads them: what is given goes before what the URL says, user and password among it.
  const options = { ...(url === null ? {} : urlToHttpOptions(url)), ...(typeof given === 'function' ? {} : given) };
  const host = options.hostname ?? options.host;
  if (host !== urlToHttpOptions(target).hostname || Number(options.port || 443) !== 443) return null;
  // An agent of https refuses plain requests.
  return { ...options, protocol: 'http:', port: target.port || 80, agent: undefined, defaultPort: 80 };
}

module.exports = { watch };
