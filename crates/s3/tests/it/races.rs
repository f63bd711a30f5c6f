//! Races: sem:S2, sem:S3, sem:S5.

use super::*;

async fn statuses(
    s3: &Arc<Fixture>,
    count: usize,
    headers: &'static [(&'static str, &'static str)],
    size: usize,
) -> Vec<u16> {
    let racers = (0..count).map(|seed| {
        let s3 = Arc::clone(s3);
        let body = content(seed as u64, size);
        sys::task::spawn("racer", async move { s3.send("PutObject", "PUT /bkt/k", headers, body).await.status })
    });
    let mut statuses = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        statuses.push(racer.await.expect("the test holds").expect("no panic"));
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_exactly_one_of_n_creators_wins() {
    for size in [10, 100_000] {
        let s3 = Arc::new(fixture().await);
        s3.bucket("bkt").await;
        let statuses = statuses(&s3, 16, &[("if-none-match", "*")], size).await;
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| [200, 409, 412].contains(status)), "{statuses:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_s5_readers_see_one_of_the_bodies_whole() {
    let s3 = Arc::new(fixture().await);
    s3.bucket("bkt").await;
    let bodies: Vec<_> = (0..8).map(|seed| content(seed, 150_000)).collect();
    s3.put("bkt/k", bodies[0].clone()).await;
    let reader = {
        let (s3, bodies) = (Arc::clone(&s3), bodies.clone());
        sys::task::spawn("reader", async move {
            for _ in 0..40 {
                let got = s3.get("bkt/k").await.expect("never absent");
                assert!(bodies.contains(&got), "a mix of two bodies");
            }
        })
    };
    for _ in 0..3 {
        statuses(&s3, 8, &[], 150_000).await;
    }
    reader.await.expect("the test holds").expect("no panic");
    assert!(bodies.contains(&s3.get("bkt/k").await.expect("there")));
}
