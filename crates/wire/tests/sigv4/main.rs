//! Signatures: the published vectors, an independent signer, and a matrix of what must be refused.

mod chunked;
mod chunks_of_aws;
mod independent;
mod matrix;
mod vectors;

use http::{HeaderMap, HeaderName, HeaderValue};
use sys::Timestamp;
use wire::sigv4::{Credential, Expectations, RegionPolicy, RequestParts, SKEW_DEFAULT, Secret, SigV4Error, Verified};

/// A request in owned parts, so that tests can change any of them.
#[derive(Clone, Debug)]
struct Sent {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Sent {
    fn header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
        }
        map
    }

    fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    fn verify(&self, key: &Key, now: Timestamp, service: &str) -> Result<Verified, SigV4Error> {
        let regions = [key.region.to_owned()];
        let expect = Expectations { service, regions: RegionPolicy::Only(&regions), skew: SKEW_DEFAULT };
        let headers = self.header_map();
        let parts = RequestParts { method: &self.method, path: &self.path, query: &self.query, headers: &headers };
        wire::sigv4::verify(&parts, &self.body, |id| (id == key.id).then(|| key.credential()), now, &expect)
    }
}

#[derive(Clone, Debug)]
struct Key {
    id: &'static str,
    secret: String,
    token: Option<String>,
    region: &'static str,
}

impl Key {
    fn example() -> Self {
        Self {
            id: "AKIDEXAMPLE",
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            token: None,
            region: "us-east-1",
        }
    }

    fn credential(&self) -> Credential {
        Credential { secret: Secret::new(&*self.secret), session_token: self.token.as_deref().map(Secret::new) }
    }
}

/// 2015-08-30T12:36:00Z, the time of the published vectors.
const VECTOR_TIME: Timestamp = Timestamp::from_unix_s(1_440_938_160);
