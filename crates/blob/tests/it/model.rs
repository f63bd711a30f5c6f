//! Random puts, gets, deletes and reopens beside a plain map.

use std::collections::BTreeMap;

use blob::{BlobError, BlobRef};
use bytes::Bytes;
use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use proptest::test_runner::Config;

use crate::{content, fixture, open};

#[derive(Clone, Debug)]
enum Step {
    Put { seed: u64, length: usize },
    Get(usize),
    Delete(usize),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![0..200_usize, 65_500..65_600_usize, 131_000..131_100_usize];
    let step = prop_oneof![
        4 => (0..4_u64, length).prop_map(|(seed, length)| Step::Put { seed, length }),
        3 => any::<usize>().prop_map(Step::Get),
        2 => any::<usize>().prop_map(Step::Delete),
        1 => proptest::strategy::Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(Config { cases: 24, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_store_is_a_map_from_digest_to_bytes(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(run(steps));
    }
}

async fn run(steps: Vec<Step>) {
    let mut fixture = fixture().await;
    let mut model: BTreeMap<blob::Digest, Vec<u8>> = BTreeMap::new();
    let mut known: Vec<BlobRef> = Vec::new();
    for step in steps {
        match step {
            Step::Put { seed, length } => {
                let bytes = content(seed, length);
                let blob = fixture.blobs.put(Bytes::from(bytes.clone())).await.expect("the disk is healthy");
                model.insert(blob.digest, bytes);
                known.push(blob);
            }
            Step::Get(at) if !known.is_empty() => {
                let blob = known[at % known.len()];
                match (fixture.blobs.get(&blob).await, model.get(&blob.digest)) {
                    (Ok(got), Some(expected)) => assert_eq!(got, *expected),
                    (Err(BlobError::NotFound(_)), None) => {}
                    (outcome, expected) => panic!("{outcome:?} where the model has {:?}", expected.map(Vec::len)),
                }
            }
            Step::Delete(at) if !known.is_empty() => {
                let digest = known[at % known.len()].digest;
                let was_there = fixture.blobs.delete(&digest).await.expect("the disk is healthy");
                assert_eq!(was_there, model.remove(&digest).is_some());
            }
            Step::Get(_) | Step::Delete(_) => {}
            Step::Reopen => fixture.blobs = open(fixture.folder.path(), &fixture.clock).await,
        }
        let listed = fixture.blobs.list(None, 100).await.expect("the disk is healthy");
        assert!(listed.iter().map(|listed| &listed.digest).eq(model.keys()));
    }
}
