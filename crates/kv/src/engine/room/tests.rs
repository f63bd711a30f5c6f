use super::*;

/// Keys with the size of their values; `None` deletes.
type Sizes<'a> = &'a [(&'a str, Option<usize>)];

const MIB: u64 = 1 << 20;

fn writes(of: Sizes<'_>) -> Writes {
    let value = |bytes: usize| Bytes::from(vec![0; bytes]);
    of.iter().map(|(key, bytes)| (Bytes::copy_from_slice(key.as_bytes()), bytes.map(value))).collect()
}

fn open(folder: &Path) -> Reserve {
    Reserve::open(folder, Clock::system())
}

#[test]
fn a10_a_full_disk_takes_what_removes_and_refuses_what_grows() {
    let cases: [(Sizes<'_>, bool); 5] = [
        (&[("a", None)], true),
        (&[("a", None), ("b", Some(2_047))], true),
        (&[("a", None), ("b", Some(2_048))], false),
        (&[("a", None), ("b", Some(3_000)), ("c", None)], true),
        (&[("a", Some(1))], false),
    ];
    for (of, fits) in cases {
        let writes = writes(of);
        assert_eq!(Room::new(0, MIB).admit(&writes, false).is_ok(), fits, "{of:?}");
        let mut enough = Room::ENOUGH;
        assert!(enough.admit(&writes, false).is_ok(), "{of:?}");
        assert!(Room::new(0, 0).admit(&writes, true).is_err(), "{of:?}");
    }
}

#[test]
fn a10_what_leads_to_removals_is_let_in_and_leaves_them_some_room() {
    let (receive, delete) = (writes(&[("a", Some(100))]), writes(&[("a", None)]));
    let mut room = Room::new(0, KEPT_FOR_REMOVALS_BYTES + 1_000);
    let mut receives = 0;
    while room.admit(&receive, true).is_ok() {
        receives += 1;
    }
    assert_eq!(receives, 1_000 / cost(&receive));
    assert!(room.admit(&receive, false).is_err());
    assert!(room.admit(&delete, false).is_ok());
}

#[test]
fn transactions_take_their_bytes_from_the_room_of_all() {
    let (grows, removes) = (writes(&[("a", Some(1_000))]), writes(&[("a", None), ("b", Some(400))]));
    let mut room = Room::new(5_000, 8_000);
    let taken = |room: &mut Room, writes| (0..).take_while(|_| room.admit(writes, false).is_ok()).count() as u64;
    assert_eq!(taken(&mut room, &grows), 5_000 / cost(&grows));
    let left = 8_000 - 5_000 / cost(&grows) * cost(&grows);
    assert_eq!(taken(&mut room, &removes), left / cost(&removes));
    assert!(cost(&grows) >= 3 * 1_000, "in the journal, in a table, and in a merged one");
}

#[test]
fn what_the_engine_may_have_to_write_must_find_room_on_the_disk() {
    let demand = |[active, sealed, top, first, deeper]: [u64; 5]| Demand {
        active: active * MIB,
        sealed: sealed * MIB,
        top: top * MIB,
        first: first * MIB,
        deeper: deeper * MIB,
        table: TABLE_BYTES,
    };
    let cases = [
        // An empty store.
        (1_000, [0, 0, 0, 0, 0], (976, 976)),
        (24, [0, 0, 0, 0, 0], (0, 22)),
        // A memtable goes to a table, and that is merged.
        (41, [8, 0, 0, 0, 0], (1, 39)),
        (57, [8, 8, 0, 0, 0], (1, 47)),
        (105, [8, 0, 32, 32, 0], (1, 56)),
        // Nothing goes on to a lower level while the first one is within its size; but what went there may still be merged.
        (56 + 88, [0, 0, 8, 24, 1_000], (0, 64)),
        (57 + 88, [0, 0, 8, 24, 1_000], (1, 64)),
        (57 + 2 * 88, [0, 0, 9, 24, 1_000], (0, 64)),
        (58 + 2 * 88, [0, 0, 9, 24, 1_000], (1, 64)),
        (58 + 2 * 7, [0, 0, 9, 24, 7], (1, 64)),
        // Below what the engine needs only removals are left, as many as the memtable takes without being written out.
        (10, [3, 0, 32, 32, 0], (0, 8)),
        (10, [3, 8, 32, 32, 0], (0, 0)),
        (80, [63, 0, 0, 0, 0], (0, 1)),
    ];
    for (free, sizes, (growth, removals)) in cases {
        let demand = demand(sizes);
        assert!(demand.bytes_kept() >= demand.bytes() + REMOVALS_BYTES, "{sizes:?}");
        let room = room_in(free * MIB, demand);
        assert_eq!(room, Room::new(growth * MIB, removals * MIB), "{free} MiB, {sizes:?}");
    }
}

#[test]
fn others_leave_what_the_engine_needs_also_for_the_merge_that_is_not_yet_due() {
    let (small, large) = (8 * MIB, Demand { top: 8 * MIB, first: 24 * MIB, deeper: 1_000 * MIB, ..Demand::default() });
    assert_eq!(Demand::default().bytes_kept(), REMOVALS_BYTES);
    assert_eq!(Demand { active: small, ..Demand::default() }.bytes_kept(), 2 * small + REMOVALS_BYTES);
    assert_eq!(large.bytes(), (32 + 88) * MIB);
    assert_eq!(large.bytes_kept(), (32 + 2 * 88) * MIB + REMOVALS_BYTES);
}

#[test]
fn the_reserve_takes_its_bytes_on_the_disk_also_after_a_copy_that_made_a_hole_of_it() {
    let folder = tempfile::tempdir().expect("the test holds");
    let path = folder.path().join(FILE);
    File::create(&path).and_then(|file| file.set_len(RESERVE_BYTES)).expect("the test holds");
    let bytes = || path.metadata().expect("the test holds").blocks() * 512;
    assert_eq!(bytes() / RESERVE_BYTES, 0, "a hole");
    for _ in 0..2 {
        let reserve = open(folder.path());
        assert!(reserve.held, "this test needs 40 MiB of room");
        assert_eq!(reserve.state, State::Enough);
        assert_eq!(bytes() / RESERVE_BYTES, 1, "not a hole");
    }
}

#[test]
fn a_reserve_that_cannot_be_taken_is_not_tried_for_at_each_group() {
    let folder = tempfile::tempdir().expect("the test holds");
    let clock = Clock::manual(sys::Timestamp::from_unix_s(1_000));
    // A folder where the file should be.
    let path = folder.path().join(FILE);
    std::fs::create_dir(&path).expect("the test holds");
    let mut reserve = Reserve::open(folder.path(), clock.clone());
    assert!(!reserve.held);
    std::fs::remove_dir(&path).expect("the test holds");
    reserve.room(Demand::default());
    assert!(!reserve.held, "it has just failed");
    clock.advance(TAKE_AGAIN);
    reserve.room(Demand::default());
    assert!(reserve.held);
}

/// Room for some is no room for all: who was refused is the one who waits for what can be given back.
#[test]
fn a10_a_disk_is_full_as_long_as_somebody_is_refused() {
    let folder = tempfile::tempdir().expect("the test holds");
    let left = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(24 * MIB + 50_000));
    let tells = std::sync::Arc::clone(&left);
    let free = move |_: &Path| tells.load(std::sync::atomic::Ordering::Relaxed);
    let mut reserve = Reserve::open_where(folder.path(), Clock::system(), Box::new(free));
    let demand = Demand { active: 0, ..Demand::default() };
    let large = writes(&[("a", Some(60_000))]);
    let mut room = reserve.room(demand);
    assert!(room.admit(&writes(&[("a", Some(100))]), false).is_ok() && !reserve.is_scarce());
    assert!(room.admit(&large, false).is_err());
    assert_eq!(room.lacked(), cost(&large));
    reserve.lack(room.lacked());
    assert!(reserve.is_scarce());
    reserve.room(demand);
    assert!(reserve.is_scarce(), "there is still no room for it");
    left.store(24 * MIB + cost(&large), std::sync::atomic::Ordering::Relaxed);
    assert!(reserve.room(demand).admit(&large, false).is_ok() && !reserve.is_scarce());
}

/// Whoever was refused may never come again.
#[test]
fn a10_a_disk_is_full_no_longer_than_somebody_asks_for_what_was_refused() {
    let folder = tempfile::tempdir().expect("the test holds");
    let clock = Clock::manual(sys::Timestamp::from_unix_s(1_000));
    let mut reserve = Reserve::open_where(folder.path(), clock.clone(), Box::new(|_| 24 * MIB + 50_000));
    let demand = Demand::default();
    let (large, larger) = (60_000, 70_000);
    reserve.lack(large);
    reserve.lack(larger);
    for renewed in [large, larger, large] {
        clock.advance(LACKED_FOR - Duration::from_secs(1));
        reserve.room(demand);
        assert!(reserve.is_scarce(), "somebody may come again");
        reserve.lack(renewed);
    }
    clock.advance(LACKED_FOR);
    reserve.room(demand);
    assert!(!reserve.is_scarce(), "nobody asks any more");
    assert_eq!(reserve.state, State::Enough);
    reserve.lack(large);
    assert!(reserve.is_scarce());
}

#[test]
fn a_store_with_larger_tables_needs_more_to_merge_them() {
    let demand = Demand { top: 64 * MIB, first: 250 * MIB, deeper: 5_000 * MIB, ..Demand::default() };
    assert_eq!(demand.bytes(), (314 + 2 * 88) * MIB);
    let old = Demand { table: 64 * MIB, ..demand };
    assert_eq!(old.bytes(), (314 + 2 * 704) * MIB);
    assert_eq!(old.bytes_kept(), (314 + 2 * 704) * MIB + REMOVALS_BYTES);
}
