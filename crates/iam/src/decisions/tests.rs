use std::os::unix::fs::PermissionsExt;

use super::file::{current, old};
use super::*;

struct At {
    folder: tempfile::TempDir,
    decisions: Decisions,
}

fn open(folder: &Path) -> Decisions {
    Decisions::open(folder, Clock::manual(sys::Timestamp::from_unix_s(0))).unwrap()
}

fn at() -> At {
    let folder = tempfile::tempdir().unwrap();
    At { decisions: open(folder.path()), folder }
}

fn record(number: u64, padding: usize) -> Record {
    Record {
        request_id: format!("id-{number}"),
        at_us: 0,
        region: "r".repeat(padding),
        asker: Asker::default(),
        answers: Vec::new(),
        left_out: 0,
        objection: None,
        enforced: true,
    }
}

fn answered(denial: Option<&str>) -> Answered {
    Answered {
        action: "s3:DeleteObject".into(),
        resource: "arn:aws:s3:::b/k".to_owned(),
        owner: String::new(),
        keys: Vec::new(),
        by: None,
        denial: denial.map(str::to_owned),
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

async fn ids(decisions: &Decisions) -> Vec<String> {
    decisions.read(|_| true).await.unwrap().into_iter().map(|one| one.request_id).collect()
}

#[tokio::test]
async fn records_are_read_back_in_order_and_are_their_owners_only() {
    let At { folder, decisions } = at();
    (0..10).for_each(|number| decisions.record(record(number, 1)));
    let expected: Vec<_> = (0..10).map(|number| format!("id-{number}")).collect();
    assert_eq!(ids(&decisions).await, expected);
    let mode = std::fs::metadata(current(folder.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(decisions.of_request("id-1").await.unwrap(), [record(1, 1)], "and not id-10, id-11 …");
    assert_eq!(decisions.of_request("id-").await.unwrap(), []);
    // Two files of at most 16 MiB, whatever is recorded.
    for round in 1..=9 {
        (0..5).for_each(|number| decisions.record(record(10 * round + number, 1 << 20)));
        decisions.flush().await.expect("written");
    }
    let lengths = [current(folder.path()), old(folder.path())].map(|path| length(&path));
    assert!(lengths.iter().all(|length| *length <= FILE_BYTES_MAX), "{lengths:?}");
    assert!(lengths[1] > FILE_BYTES_MAX - (2 << 20), "the files turn between two lines of one batch: {lengths:?}");
    assert_eq!(decisions.of_request("id-94").await.unwrap().len(), 1, "the newest is still there");
}

#[tokio::test]
async fn what_waits_to_be_written_is_bounded_in_bytes() {
    let At { decisions, folder: _folder } = at();
    // Nothing is written before this test waits for the first time.
    (0..20).for_each(|number| decisions.record(record(number, 1 << 20)));
    assert_eq!(ids(&decisions).await.len(), 7, "8 MiB and what belongs to each record");
    decisions.record(record(20, 1));
    assert_eq!(ids(&decisions).await.len(), 8);
}

#[tokio::test]
async fn a_line_that_a_crash_cut_off_does_not_swallow_the_next() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(current(folder.path()), br#"{"request_id":"id-0","at_us"#).unwrap();
    let decisions = open(folder.path());
    decisions.record(record(1, 1));
    assert_eq!(ids(&decisions).await, ["id-1"]);
}

#[tokio::test]
async fn files_that_cannot_be_turned_do_not_grow_and_are_turned_later() {
    let At { folder, decisions } = at();
    let in_the_way = old(folder.path());
    std::fs::create_dir_all(in_the_way.join("x")).unwrap();
    for round in 0..5 {
        (0..5).for_each(|number| decisions.record(record(10 * round + number, 1 << 20)));
        decisions.flush().await.expect("written");
    }
    let before = length(&current(folder.path()));
    assert!(before <= FILE_BYTES_MAX && before > FILE_BYTES_MAX - (2 << 20), "{before}");
    std::fs::remove_dir_all(&in_the_way).unwrap();
    (0..5).for_each(|number| decisions.record(record(100 + number, 1 << 20)));
    let found = ids(&decisions).await;
    assert_eq!(found.first().map(String::as_str), Some("id-0"));
    assert_eq!(found.last().map(String::as_str), Some("id-104"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_sees_no_gap_while_the_files_turn() {
    let folder = tempfile::tempdir().unwrap();
    let turning = Arc::<Mutex<()>>::default();
    let mut pen = Pen::open(folder.path(), Arc::clone(&turning), 4_000).unwrap();
    let writing = sys::task::spawn("writing", async move {
        for number in 0..1_000 {
            pen.write(&[record(number, 1_000)]).unwrap();
        }
    });
    let mut rounds = 0;
    while !writing.is_finished() || rounds == 0 {
        let found = file::read(folder.path(), &turning, b"", |_| true).unwrap();
        let numbers: Vec<u64> = found.iter().map(|one| one.request_id[3..].parse().unwrap()).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
        rounds += 1;
        tokio::task::yield_now().await;
    }
    writing.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_last_records_are_written_when_the_last_handle_goes() {
    let At { folder, decisions } = at();
    decisions.record(record(1, 1));
    drop(decisions);
    for _ in 0..1_000 {
        if length(&current(folder.path())) > 0 {
            return;
        }
        Clock::system().sleep(Duration::from_millis(5)).await;
    }
    panic!("nothing was written");
}

#[test]
fn of_a_thousand_answers_some_are_kept_and_the_first_denial_is_among_them() {
    let mut answers = Answers::default();
    for number in 0..1_000 {
        let denial = (number >= 900).then(|| format!("denied {number}"));
        answers.add(denial.is_some(), || answered(denial.as_deref()));
    }
    let (kept, left_out) = answers.into_parts();
    assert_eq!((kept.len(), left_out), (ANSWERS_MAX, 1_000 - 64));
    assert_eq!(kept[ANSWERS_MAX - 1].denial.as_deref(), Some("denied 900"));

    let mut answers = Answers::default();
    for _ in 0..10 {
        let large = Answered { owner: "o".repeat(100 << 10), ..answered(None) };
        answers.add(false, || large);
    }
    let (kept, left_out) = answers.into_parts();
    assert_eq!((kept.len(), left_out), (3, 7));
}
