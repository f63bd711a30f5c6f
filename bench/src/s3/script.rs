//! The steps, the same for every server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http_body_util::BodyExt;

use crate::load::load;
use crate::peer::Peer;

pub(super) const KIB: usize = 1024;
pub(super) const MIB: usize = 1024 * KIB;
/// The largest object that Tinderbox keeps in its key-value store; one byte more makes a file.
pub(super) const INLINE: usize = 64 * KIB;
/// Pairs of the objects that are written and read. The two in the middle lie on both sides of the step from value to file.
pub(super) const SIZES: [(usize, &str); 5] =
    [(4 * KIB, "4 KiB"), (INLINE, "64 KiB"), (INLINE + 1, "64 KiB + 1"), (MIB, "1 MiB"), (100 * MIB, "100 MiB")];
/// So many objects of a size are read in turn.
const READ_AGAIN: u64 = 64;
/// Keys of a page of a list.
const PAGE: usize = 1_000;

/// Objects a second of each of [`SIZES`], and keys a second of a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) put_per_s: Vec<f64>,
    pub(super) get_per_s: Vec<f64>,
    /// Keys that were listed, and keys a second; `None`: left out.
    pub(super) listed: Option<(u64, f64)>,
}

/// How much is done.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    pub(super) clients: usize,
    pub(super) time: Duration,
    pub(super) keys: usize,
    /// A server whose bucket is not full by then lists the keys that it has.
    pub(super) fill: Duration,
}

/// Clients at once for objects of `size` bytes: of large ones two fill the machine, and more only fill its memory.
pub(super) fn clients_for(size: usize, clients: usize) -> usize {
    if size > MIB { clients.min(2) } else { clients }
}

pub(super) async fn run(peer: &Peer, extent: Extent) -> anyhow::Result<Figures> {
    peer.s3("PUT", "/bench", Bytes::new()).await?;
    let mut figures = Figures::default();
    for (size, _) in SIZES {
        let clients = clients_for(size, extent.clients);
        let (body, written) = (Bytes::from(vec![0x5a; size]), AtomicU64::new(0));
        let put = || async {
            let path = format!("/bench/{size}-{}", written.fetch_add(1, Ordering::Relaxed));
            drained(peer, "PUT", &path, body.clone()).await?;
            Ok(1)
        };
        figures.put_per_s.push(load(clients, extent.time, put).await?);
        let (there, next) = (written.load(Ordering::Relaxed).min(READ_AGAIN), AtomicU64::new(0));
        let get = || async {
            let path = format!("/bench/{size}-{}", next.fetch_add(1, Ordering::Relaxed) % there);
            let read = drained(peer, "GET", &path, Bytes::new()).await?;
            ensure!(read == size, "{path}: {read} bytes");
            Ok(1)
        };
        figures.get_per_s.push(load(clients, extent.time, get).await?);
    }
    if extent.keys > 0 {
        figures.listed = Some(listed(peer, extent).await?);
    }
    Ok(figures)
}

/// One request, its answer read and thrown away piece by piece; the bytes of the answer.
async fn drained(peer: &Peer, method: &str, path: &str, body: Bytes) -> anyhow::Result<usize> {
    let (mut answer, mut read) = (peer.s3(method, path, body).await?.into_body(), 0);
    while let Some(frame) = answer.frame().await {
        read += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(read)
}

/// Fills a bucket and lists all of it, page by page: the number of keys, and keys a second of the listing alone.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
async fn listed(peer: &Peer, extent: Extent) -> anyhow::Result<(u64, f64)> {
    peer.s3("PUT", "/bench-list", Bytes::new()).await?;
    let (start, next, filled) = (Instant::now(), AtomicU64::new(0), AtomicU64::new(0));
    let fill = (0..extent.clients).map(|_| async {
        while start.elapsed() < extent.fill {
            let key = next.fetch_add(1, Ordering::Relaxed);
            if key >= extent.keys as u64 {
                break;
            }
            drained(peer, "PUT", &format!("/bench-list/k{key:09}"), Bytes::from_static(b"1")).await?;
            filled.fetch_add(1, Ordering::Relaxed);
        }
        Ok::<_, anyhow::Error>(())
    });
    try_join_all(fill).await?;
    let (start, mut marker, mut found) = (Instant::now(), String::new(), 0);
    loop {
        let path = format!("/bench-list?max-keys={PAGE}&marker={marker}");
        let page = peer.s3("GET", &path, Bytes::new()).await?.into_body().collect().await?.to_bytes();
        let page = std::str::from_utf8(&page)?;
        found += page.matches("<Key>").count() as u64;
        if !page.contains("<IsTruncated>true</IsTruncated>") {
            break;
        }
        let last = page.rsplit("<Key>").next().and_then(|rest| rest.split("</Key>").next());
        last.context("a page without keys, and more to come")?.clone_into(&mut marker);
    }
    let filled = filled.into_inner();
    ensure!(found == filled, "{found} of {filled} keys were listed");
    Ok((found, found as f64 / start.elapsed().as_secs_f64()))
}
