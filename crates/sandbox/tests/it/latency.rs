//! How long launches take, beside a bare fork and exec of the same program in the same run. Run with `--ignored --nocapture`.

use std::time::{Duration, Instant};

use sandbox::Spec;

use crate::support::{eventually, is_root, launcher};

const ROUNDS: usize = 40;

fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort_unstable();
    samples[samples.len() / 2]
}

#[tokio::test]
#[ignore = "a measurement, not a check"]
async fn launch_latency_beside_a_bare_exec() {
    if !is_root() {
        return;
    }
    let (pooled, unpooled) = (launcher(1).await, launcher(0).await);
    let programs: [&[&str]; 3] = [&["/bin/true"], &["/bin/sh", "-c", ":"], &["/usr/bin/node", "-e", "0"]];
    for argv in programs {
        let (mut bare, mut warm, mut cold, mut warm_exec, mut cold_exec) = (vec![], vec![], vec![], vec![], vec![]);
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let status = tokio::process::Command::new(argv[0]).args(&argv[1..]).status().await.expect("it runs");
            assert!(status.success());
            bare.push(begun.elapsed());
            let spec =
                || Spec { memory_bytes: 512 << 20, ..Spec::new(argv.iter().map(|part| (*part).to_owned()).collect()) };
            eventually("a sandbox is prepared", || pooled.pooled() == 1).await;
            for (launcher, ends, execs) in
                [(&pooled, &mut warm, &mut warm_exec), (&unpooled, &mut cold, &mut cold_exec)]
            {
                let begun = Instant::now();
                let sandbox = launcher.launch(spec()).await.expect("it launches");
                execs.push(begun.elapsed());
                sandbox.exited().await;
                ends.push(begun.elapsed());
            }
        }
        println!(
            "{argv:?}: bare start to end {:?} | pooled: launched {:?}, ended {:?} | on demand: launched {:?}, ended {:?}",
            median(bare),
            median(warm_exec),
            median(warm),
            median(cold_exec),
            median(cold)
        );
    }
}
