//! The line to a runtime that a script of the user's starts (`AWS_LAMBDA_EXEC_WRAPPER`, ADR 0017): the script may end with our
//! bootstrap's command, which speaks frames, or with anything else that speaks the Runtime API, as the Lambda Web Adapter does
//! beside a plain HTTP server. Both doors are open until something is said through one of them.

use bytes::Bytes;

use super::channel::InvokeHeader;
use super::line::{FrameLine, Said};
use super::runtime_api::RuntimeApi;

/// Both doors of one environment.
#[derive(Debug)]
pub(crate) struct EitherLine {
    /// `None` when the other door was taken, or when nobody holds the runtime's end of the channel any more.
    frames: Option<FrameLine>,
    /// Stays when the frames were chosen: on its listener are the APIs of the extensions, too.
    api: RuntimeApi,
    chosen: Option<Door>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Frames,
    RuntimeApi,
}

impl EitherLine {
    pub(crate) fn new(frames: FrameLine, api: RuntimeApi) -> Self {
        Self { frames: Some(frames), api, chosen: None }
    }

    /// Waits for what the runtime says next. Dropping the future loses nothing.
    pub(crate) async fn listen(&mut self) -> Said {
        while self.chosen.is_none() {
            let Self { frames, api, .. } = self;
            let by_frames = async {
                match frames {
                    Some(frames) => frames.listen().await,
                    None => std::future::pending().await,
                }
            };
            let (door, said) = tokio::select! {
                biased;
                said = by_frames => (Door::Frames, said),
                said = api.listen() => (Door::RuntimeApi, said),
            };
            match (door, said) {
                // The script, or what it started, has closed a descriptor that it does not know.
                (Door::Frames, Said::Closed { .. }) => self.frames = None,
                (door, said) => {
                    self.choose(door);
                    return said;
                }
            }
        }
        match (self.chosen, &mut self.frames) {
            (Some(Door::Frames), Some(frames)) => frames.listen().await,
            _ => self.api.listen().await,
        }
    }

    fn choose(&mut self, door: Door) {
        self.chosen = Some(door);
        match door {
            Door::Frames => self.api.close_to_the_runtime(),
            Door::RuntimeApi => self.frames = None,
        }
    }

    /// True when the Runtime API was chosen.
    pub(crate) fn speaks_runtime_api(&self) -> bool {
        self.chosen == Some(Door::RuntimeApi)
    }

    /// Hands over an event, which nothing does before the runtime has said that it is ready.
    pub(crate) async fn deliver(&mut self, header: InvokeHeader, event: Bytes) {
        match &mut self.frames {
            Some(frames) => frames.deliver(&header, &event).await,
            None => self.api.deliver(header, event),
        }
    }

    /// Tells a runtime that has suspended itself that it is about to be used.
    pub(crate) async fn restore(&mut self) {
        match &mut self.frames {
            Some(frames) => frames.restore().await,
            None => self.api.restore(),
        }
    }

    pub(crate) fn expect_given(&mut self, bytes_max: usize) {
        if let Some(frames) = &mut self.frames {
            frames.expect_given(bytes_max);
        }
    }

    pub(crate) async fn idle(&self) {
        if self.speaks_runtime_api() {
            self.api.idle().await;
        }
    }

    pub(crate) fn holds_restore(&self) -> bool {
        match &self.frames {
            Some(frames) => frames.holds_event(),
            None => self.api.holds_restore(),
        }
    }

    pub(crate) fn holds_event(&self) -> bool {
        match &self.frames {
            Some(frames) => frames.holds_event(),
            None => self.api.holds_event(),
        }
    }
}

#[cfg(test)]
mod tests {
    use sys::Clock;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream, UnixStream};

    use super::super::PayloadLimits;
    use super::super::extensions::{About, Extensions};
    use super::super::telemetry::Telemetry;
    use super::*;

    const LOADING: [u8; 5] = [0, 0, 0, 1, 6];

    async fn line() -> (EitherLine, UnixStream, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let account = wire::AccountId::parse("000000000000").unwrap();
        let about =
            About { name: "f".to_owned(), version: "1".to_owned(), handler: "h".to_owned(), account, several: false };
        let extensions = Extensions::new(about, sys::Rng::system(), &[]);
        let telemetry = Telemetry::new(Clock::system(), Vec::new());
        let api = RuntimeApi::serve(listener, Clock::system(), extensions, telemetry, PayloadLimits::default(), None);
        let (ours, theirs) = UnixStream::pair().unwrap();
        (EitherLine::new(FrameLine::new(ours, PayloadLimits::default()), api), theirs, address)
    }

    /// Asks for the next event; the connection on which the answer comes.
    async fn ask(address: std::net::SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        stream
    }

    #[tokio::test]
    async fn a_bootstrap_that_speaks_frames_leaves_the_runtime_api_to_nobody_else() {
        let (mut line, mut runtime, address) = line().await;
        runtime.write_all(&LOADING).await.unwrap();
        assert_eq!(line.listen().await, Said::Loading);
        assert!(!line.speaks_runtime_api());
        let mut answer = [0; 12];
        ask(address).await.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 403");
        line.deliver(InvokeHeader::plain(), Bytes::from_static(b"1")).await;
        assert!(runtime.read(&mut [0; 64]).await.unwrap() > 0, "its events come by frames");
    }

    #[tokio::test]
    async fn who_asks_the_runtime_api_first_is_the_runtime() {
        for closes_first in [false, true] {
            let (mut line, runtime, address) = line().await;
            let mut runtime = Some(runtime);
            if closes_first {
                // A script that closes what it does not know has ended nothing.
                runtime = None;
            }
            let mut asked = ask(address).await;
            assert_eq!(line.listen().await, Said::Ready { used: Bytes::new() });
            assert!(line.speaks_runtime_api());
            line.deliver(InvokeHeader::plain(), Bytes::from_static(b"\"event\"")).await;
            let mut answer = vec![0; 12];
            asked.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, b"HTTP/1.1 200");
            if let Some(mut runtime) = runtime {
                assert_eq!(runtime.read(&mut [0; 8]).await.unwrap(), 0, "the other door is closed");
            }
        }
    }
}
