//! Cross-origin resource sharing of function URLs.
//!
//! Source: API model, `Cors`; WHATWG Fetch, "CORS protocol". With a configuration the platform answers preflights
//! itself and sets the headers of answers, replacing the function's own; without one it does neither.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use serde::{Deserialize, Serialize};

/// `Cors` of a function URL. Empty lists and absent members are not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cors {
    /// Whether cookies and credentials may be sent.
    pub allow_credentials: Option<bool>,
    /// Request headers that a page may send, or `*`.
    pub allow_headers: Option<Vec<String>>,
    /// Methods that a page may use, or `*`.
    pub allow_methods: Option<Vec<String>>,
    /// Origins that may read the answer, or `*`.
    pub allow_origins: Option<Vec<String>>,
    /// Answer headers that a page may read, or `*`.
    pub expose_headers: Option<Vec<String>>,
    /// How long a browser may keep a preflight's answer, 0–86,400 s.
    pub max_age_s: Option<u32>,
}

impl Cors {
    /// The answer to a preflight; `None` when `request` is none.
    pub fn preflight(&self, request: &Request<Bytes>) -> Option<Response<Bytes>> {
        let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if request.method() != Method::OPTIONS || !asks {
            return None;
        }
        let origin = request.headers().get(header::ORIGIN)?;
        let mut response = Response::new(Bytes::new());
        if self.allows(origin) {
            let headers = response.headers_mut();
            self.set_origin(headers, origin);
            set_list(headers, header::ACCESS_CONTROL_ALLOW_METHODS, self.allow_methods.as_deref());
            set_list(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, self.allow_headers.as_deref());
            if let Some(max_age_s) = self.max_age_s {
                headers.insert(header::ACCESS_CONTROL_MAX_AGE, max_age_s.into());
            }
        }
        Some(response)
    }

    /// Sets the headers of the answer to a request that came with `origin`.
    pub fn apply(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        for ours in [
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            header::ACCESS_CONTROL_ALLOW_METHODS,
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            header::ACCESS_CONTROL_MAX_AGE,
        ] {
            headers.remove(ours);
        }
        if let Some(origin) = origin.filter(|origin| self.allows(origin)) {
            self.set_origin(headers, origin);
            set_list(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, self.expose_headers.as_deref());
        }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let allowed = self.allow_origins.as_deref().unwrap_or_default();
        allowed.iter().any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes())
    }

    /// Names the origin that asked, not `*`: with credentials browsers accept nothing else, and caches need `Vary`.
    fn set_origin(&self, headers: &mut HeaderMap, origin: &HeaderValue) {
        let credentials = self.allow_credentials == Some(true);
        let any = self.allow_origins.as_deref().unwrap_or_default().iter().any(|allowed| allowed == "*");
        if any && !credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

fn set_list(headers: &mut HeaderMap, name: HeaderName, values: Option<&[String]>) {
    let joined = values.unwrap_or_default().join(",");
    // Values that no header can carry are refused at create; an empty list sends nothing.
    if let (false, Ok(value)) = (joined.is_empty(), HeaderValue::from_str(&joined)) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors() -> Cors {
        Cors {
            allow_credentials: None,
            allow_headers: Some(vec!["content-type".to_owned(), "x-id".to_owned()]),
            allow_methods: Some(vec!["GET".to_owned(), "POST".to_owned()]),
            allow_origins: Some(vec!["https://a.example".to_owned()]),
            expose_headers: Some(vec!["x-count".to_owned()]),
            max_age_s: Some(600),
        }
    }

    fn preflight(cors: &Cors, origin: &str) -> Vec<(String, String)> {
        let request = Request::options("/")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .body(Bytes::new())
            .unwrap();
        let response = cors.preflight(&request).expect("it is a preflight");
        assert_eq!(response.status(), 200);
        let headers = response.headers().iter();
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_platform_answers_preflights() {
        let allowed = pairs(&[
            ("access-control-allow-origin", "https://a.example"),
            ("vary", "Origin"),
            ("access-control-allow-methods", "GET,POST"),
            ("access-control-allow-headers", "content-type,x-id"),
            ("access-control-max-age", "600"),
        ]);
        assert_eq!(preflight(&cors(), "https://a.example"), allowed);
        assert_eq!(preflight(&cors(), "https://b.example"), pairs(&[]));
        let open = Cors { allow_origins: Some(vec!["*".to_owned()]), ..Cors::default() };
        assert_eq!(preflight(&open, "https://b.example"), pairs(&[("access-control-allow-origin", "*")]));
        let with_credentials = Cors { allow_credentials: Some(true), ..open };
        let expected = pairs(&[
            ("access-control-allow-origin", "https://b.example"),
            ("vary", "Origin"),
            ("access-control-allow-credentials", "true"),
        ]);
        assert_eq!(preflight(&with_credentials, "https://b.example"), expected);
    }

    #[test]
    fn other_requests_are_no_preflights() {
        for request in [
            Request::get("/").header("origin", "a").header("access-control-request-method", "GET"),
            Request::options("/").header("origin", "a"),
            Request::options("/").header("access-control-request-method", "GET"),
        ] {
            assert!(cors().preflight(&request.body(Bytes::new()).unwrap()).is_none());
        }
    }

    #[test]
    fn answers_carry_the_configurations_headers_and_not_the_functions() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        cors().apply(Some(&HeaderValue::from_static("https://b.example")), &mut headers);
        assert!(headers.is_empty());
        cors().apply(Some(&HeaderValue::from_static("https://a.example")), &mut headers);
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.example");
        assert_eq!(headers[header::ACCESS_CONTROL_EXPOSE_HEADERS], "x-count");
    }
}
