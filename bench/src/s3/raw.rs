//! What the disk and the kernel do by themselves: the bounds of any store of objects.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::try_join_all;

/// Bytes of one read of the receiving side.
const PIECE: usize = 256 * 1024;

/// New files of `size` bytes a second, written, fsynced and named by `clients` threads.
pub(super) async fn files_per_s(size: usize, clients: usize, time: Duration) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let writers = (0..clients).map(|number| {
        let folder = folder.path().to_owned();
        async move {
            let written = sys::task::blocking(move || write_files(&folder, number, size, time)).await;
            written.context("the runtime is stopping")?
        }
    });
    Ok(try_join_all(writers).await?.into_iter().sum())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
fn write_files(folder: &Path, number: usize, size: usize, time: Duration) -> anyhow::Result<f64> {
    let (body, start, mut files) = (vec![0x5a; size], Instant::now(), 0u32);
    while start.elapsed() < time {
        let path = folder.join(format!("{number}-{files}"));
        let mut file = File::create(&path)?;
        file.write_all(&body)?;
        file.sync_all()?;
        files += 1;
        if files > 64 {
            // A bound on the disk: the oldest goes.
            std::fs::remove_file(folder.join(format!("{number}-{}", files - 65)))?;
        }
    }
    Ok(f64::from(files) / start.elapsed().as_secs_f64())
}

/// How often a second a file of `size` bytes goes through one connection by `sendfile(2)`, which `std::io::copy` uses
/// between a file and a socket.
pub(super) async fn sendfiles_per_s(size: usize, time: Duration) -> anyhow::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let sending = sys::task::blocking(move || send(&listener, size, time));
    let receiving = sys::task::blocking(move || receive(TcpStream::connect(address)?));
    let (sent, received) = tokio::join!(sending, receiving);
    let rate = sent.context("the runtime is stopping")??;
    received.context("the runtime is stopping")??;
    Ok(rate)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
fn send(listener: &TcpListener, size: usize, time: Duration) -> anyhow::Result<f64> {
    let mut file = tempfile::tempfile()?;
    file.write_all(&vec![0x5a; size])?;
    let (mut stream, _) = listener.accept()?;
    let (start, mut sent) = (Instant::now(), 0u32);
    while start.elapsed() < time {
        file.seek(SeekFrom::Start(0))?;
        std::io::copy(&mut file, &mut stream)?;
        sent += 1;
    }
    let rate = f64::from(sent) / start.elapsed().as_secs_f64();
    stream.shutdown(Shutdown::Both)?;
    Ok(rate)
}

fn receive(mut stream: TcpStream) -> anyhow::Result<()> {
    let mut piece = vec![0; PIECE];
    while stream.read(&mut piece)? > 0 {}
    Ok(())
}
