//! Sockets of accepted connections.

use std::io;

use socket2::SockRef;
use tokio::net::TcpStream;

/// Bytes that wait in the kernel to be sent, beyond what the peer has room for. A socket takes more only when a third
/// of its buffer is free, and buffers grow to megabytes: a peer that reads slowly would look like one that has stopped.
const UNSENT_BYTES_MAX: u32 = 128 << 10;

/// What every accepted connection is given: small writes go at once, and each piece that the peer takes makes room for
/// the next, so that slow progress is seen as progress.
///
/// # Errors
/// The operating system's; the connection works all the same.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    /// Bytes that a peer reads before the sender, whose every buffer was full, may write again.
    async fn taken_until_writable(tuned: bool) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mut peer, accepted) =
            tokio::join!(async { TcpStream::connect(address).await.unwrap() }, listener.accept());
        let stream = accepted.unwrap().0;
        if tuned {
            tune(&stream).unwrap();
        }
        let block = vec![0; 64 << 10];
        let clock = crate::Clock::system();
        // Full is what takes nothing for a while: the kernel moves bytes on behind the writes.
        while clock.timeout(Duration::from_millis(300), stream.writable()).await.is_some() {
            let _ = stream.try_write(&block);
        }
        let (mut taken, mut piece) = (0, vec![0; 64 << 10]);
        while clock.timeout(Duration::from_millis(50), stream.writable()).await.is_none() {
            taken += peer.read(&mut piece).await.unwrap();
        }
        taken
    }

    #[tokio::test]
    async fn f2_a_peer_that_reads_slowly_makes_room_with_each_piece() {
        let (tuned, control) = (taken_until_writable(true).await, taken_until_writable(false).await);
        assert!(tuned <= 512 << 10, "{tuned} bytes");
        assert!(tuned < control, "{tuned} and, as the system has it, {control} bytes");
    }
}
