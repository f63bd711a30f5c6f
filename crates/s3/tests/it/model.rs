//! Random operations against a plain model: puts, deletes, versions, conditional writes, multipart, copies.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Put { key: usize, body: u64, size: usize },
    PutIfAbsent { key: usize, body: u64 },
    PutIfMatch { key: usize, body: u64, right: bool },
    Multipart { key: usize, body: u64 },
    Copy { from: usize, to: usize },
    Delete { key: usize },
    DeleteVersion { key: usize, which: usize },
    Versioning { enabled: bool },
    Tick,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = 0usize..3;
    let op = prop_oneof![
        4 => (key.clone(), any::<u64>(), prop_oneof![Just(0usize), Just(5), Just(70_000)]).prop_map(|(key, body, size)| Op::Put { key, body, size }),
        1 => (key.clone(), any::<u64>()).prop_map(|(key, body)| Op::PutIfAbsent { key, body }),
        1 => (key.clone(), any::<u64>(), any::<bool>()).prop_map(|(key, body, right)| Op::PutIfMatch { key, body, right }),
        1 => (key.clone(), any::<u64>()).prop_map(|(key, body)| Op::Multipart { key, body }),
        1 => (key.clone(), key.clone()).prop_map(|(from, to)| Op::Copy { from, to }),
        2 => key.clone().prop_map(|key| Op::Delete { key }),
        2 => (key, 0usize..4).prop_map(|(key, which)| Op::DeleteVersion { key, which }),
        1 => any::<bool>().prop_map(|enabled| Op::Versioning { enabled }),
        1 => Just(Op::Tick),
    ];
    prop::collection::vec(op, 1..40)
}

/// A version in the model: its id (`null` or what the service gave) and its bytes; `None` is a delete marker.
type Version = (String, Option<Bytes>);

#[derive(Default)]
struct Model {
    /// `None`: never switched on.
    versioning: Option<bool>,
    /// Newest first.
    keys: BTreeMap<usize, Vec<Version>>,
}

impl Model {
    fn current(&self, key: usize) -> Option<&Bytes> {
        self.keys.get(&key)?.first()?.1.as_ref()
    }

    fn write(&mut self, key: usize, id: &str, bytes: Option<Bytes>) {
        let versions = self.keys.entry(key).or_default();
        if self.versioning != Some(true) {
            versions.retain(|(id, _)| id != "null");
        }
        let id = if self.versioning == Some(true) { id } else { "null" };
        versions.insert(0, (id.to_owned(), bytes));
    }

    fn delete(&mut self, key: usize, id: &str) {
        match self.versioning {
            None => drop(self.keys.remove(&key)),
            Some(_) => self.write(key, id, None),
        }
    }
}

struct Run {
    s3: Fixture,
    model: Model,
}

impl Run {
    async fn step(&mut self, op: &Op) {
        let path = |key: &usize| format!("bkt/k{key}");
        let Self { s3, model } = &mut *self;
        match op {
            Op::Put { key, body, size } => {
                let bytes = content(*body, *size);
                let put = s3.put(&path(key), bytes.clone()).await;
                model.write(*key, put.header("x-amz-version-id"), Some(bytes));
            }
            Op::PutIfAbsent { key, body } => {
                let bytes = content(*body, 7);
                let line = format!("PUT /{}", path(key));
                let put = s3.send("PutObject", &line, &[("if-none-match", "*")], bytes.clone()).await;
                assert_eq!(put.status, if model.current(*key).is_some() { 412 } else { 200 });
                if put.status == 200 {
                    model.write(*key, put.header("x-amz-version-id"), Some(bytes));
                }
            }
            Op::PutIfMatch { key, body, right } => self.put_if_match(*key, *body, *right).await,
            Op::Multipart { key, body } => self.multipart(*key, *body).await,
            Op::Copy { from, to } => {
                let headers = [("x-amz-copy-source", path(from)), ("x-amz-metadata-directive", "REPLACE".to_owned())];
                let headers = [(headers[0].0, headers[0].1.as_str()), (headers[1].0, headers[1].1.as_str())];
                let copied = s3.send("CopyObject", &format!("PUT /{}", path(to)), &headers, "").await;
                let source = model.current(*from).cloned();
                assert_eq!(copied.status, if source.is_some() { 200 } else { 404 });
                if let Some(bytes) = source {
                    model.write(*to, copied.header("x-amz-version-id"), Some(bytes));
                }
            }
            Op::Delete { key } => {
                let deleted = s3.ok("DeleteObject", &format!("DELETE /{}", path(key)), &[], "").await;
                model.delete(*key, deleted.header("x-amz-version-id"));
            }
            Op::DeleteVersion { key, which } => {
                let Some(versions) = model.keys.get_mut(key) else { return };
                if *which < versions.len() {
                    let (id, _) = versions.remove(*which);
                    s3.ok("DeleteObject", &format!("DELETE /{}?versionId={id}", path(key)), &[], "").await;
                }
            }
            Op::Versioning { enabled } => {
                s3.versioning("bkt", if *enabled { "Enabled" } else { "Suspended" }).await;
                model.versioning = Some(*enabled);
            }
            Op::Tick => {
                s3.advance(Duration::from_secs(61));
                s3::jobs::collect(&s3.s3).await.expect("the test holds");
            }
        }
    }

    async fn put_if_match(&mut self, key: usize, body: u64, right: bool) {
        let Self { s3, model } = self;
        let path = |key: &usize| format!("bkt/k{key}");
        let bytes = content(body, 7);
        let current = model.current(key).cloned();
        let etag = match (&current, right) {
            // The ETag of a multipart object is no MD5: ask for it.
            (Some(_), true) => {
                s3.ok("HeadObject", &format!("HEAD /{}", path(&key)), &[], "").await.header("etag").to_owned()
            }
            _ => "\"wrong\"".to_owned(),
        };
        let put = s3.send("PutObject", &format!("PUT /{}", path(&key)), &[("if-match", &etag)], bytes.clone()).await;
        let expected = match (current, right) {
            (None, _) => 404,
            (Some(_), true) => 200,
            (Some(_), false) => 412,
        };
        assert_eq!(put.status, expected);
        if put.status == 200 {
            model.write(key, put.header("x-amz-version-id"), Some(bytes));
        }
    }

    async fn multipart(&mut self, key: usize, body: u64) {
        let Self { s3, model } = self;
        let path = |key: &usize| format!("bkt/k{key}");
        let bytes = content(body, 70_000);
        let line = format!("POST /{}?uploads", path(&key));
        let upload = s3.ok("CreateMultipartUpload", &line, &[], "").await.one("UploadId");
        let line = format!("PUT /{}?partNumber=1&uploadId={upload}", path(&key));
        let etag = s3.ok("UploadPart", &line, &[], bytes.clone()).await.header("etag").to_owned();
        let list = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
        );
        let line = format!("POST /{}?uploadId={upload}", path(&key));
        let done = s3.ok("CompleteMultipartUpload", &line, &[], list).await;
        model.write(key, done.header("x-amz-version-id"), Some(bytes));
    }

    async fn compare(&self) {
        let mut listed = Vec::new();
        for key in 0..3 {
            let current = self.model.current(key);
            assert_eq!(self.s3.get(&format!("bkt/k{key}")).await.as_ref(), current, "key {key}");
            if current.is_some() {
                listed.push(format!("k{key}"));
            }
            for (id, bytes) in self.model.keys.get(&key).into_iter().flatten() {
                assert_eq!(
                    self.s3.get(&format!("bkt/k{key}?versionId={id}")).await,
                    *bytes,
                    "version {id} of key {key}"
                );
            }
        }
        assert_eq!(self.s3.ok("ListObjectsV2", "GET /bkt?list-type=2", &[], "").await.all("Key"), listed);
        let versions = self.s3.ok("ListObjectVersions", "GET /bkt?versions", &[], "").await;
        let mut found = versions.all("VersionId");
        let mut expected: Vec<_> = self.model.keys.values().flatten().map(|(id, _)| id.clone()).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_service_does_what_the_model_does(ops in ops()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the test holds");
        runtime.block_on(async {
            let s3 = fixture().await;
            s3.bucket("bkt").await;
            let mut run = Run { s3, model: Model::default() };
            for op in &ops {
                run.step(op).await;
            }
            run.compare().await;
            // Nothing that is left needs what the collector takes.
            run.s3.advance(Duration::from_secs(61));
            s3::jobs::collect(&run.s3.s3).await.expect("the test holds");
            run.compare().await;
            let report = s3::jobs::scrub(&run.s3.s3).await.expect("the test holds");
            assert_eq!(report.damaged, []);
        });
    }
}
