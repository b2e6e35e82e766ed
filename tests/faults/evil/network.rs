//! The network between us and the PBX: a proxy that delays, chokes, stalls and cuts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::chance::Chance;

/// No reply is held for longer: a run is to end.
const STALL: Duration = Duration::from_secs(20);

/// The way to a PBX.
pub(crate) struct Network {
    address: SocketAddr,
    state: Arc<State>,
    listening: JoinHandle<()>,
}

struct State {
    pbx: SocketAddr,
    chance: Mutex<Chance>,
    is_bad: AtomicBool,
    broken: AtomicU64,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy)]
enum Treatment {
    Untouched,
    /// Each piece of the reply comes so much later.
    Late(Duration),
    /// The reply comes in small pieces, one each millisecond.
    Narrow(usize),
    /// The first bytes of the reply come one by one.
    ByteByByte,
    /// After so many bytes of the reply nothing comes any more.
    Stalls(usize),
    /// After so many bytes of the reply the connection is closed, as if that had been all.
    Ends(usize),
    /// After so many bytes of the reply the connection is reset.
    Resets(usize),
    /// Nobody answers.
    Refused,
}

impl Network {
    /// A way to the PBX, which is good at first.
    pub(crate) async fn to(pbx: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let chance = Mutex::new(Chance(seed));
        let state =
            Arc::new(State { pbx, chance, is_bad: AtomicBool::new(false), broken: AtomicU64::new(0) });
        let serving = Arc::clone(&state);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, Arc::clone(&serving)));
            }
        });
        Self { address, state, listening }
    }

    /// Where it begins.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes it bad or good, for connections from now on.
    pub(crate) fn set_bad(&self, is_bad: bool) {
        self.state.is_bad.store(is_bad, Relaxed);
    }

    /// Connections whose reply did not come, or not whole: the PBX may have granted something that we never heard of.
    pub(crate) fn broken(&self) -> u64 {
        self.state.broken.load(Relaxed)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl State {
    fn draw(&self) -> Treatment {
        if !self.is_bad.load(Relaxed) {
            return Treatment::Untouched;
        }
        let mut chance = self.chance.lock().unwrap();
        let bytes = match chance.below(3) {
            0 => chance.below(30),
            1 => chance.below(400),
            _ => chance.below(5_000),
        };
        let bytes = usize::try_from(bytes).unwrap();
        match chance.below(24) {
            0 => Treatment::Stalls(bytes),
            1 => Treatment::Ends(bytes),
            2 => Treatment::Resets(bytes),
            3 => Treatment::Refused,
            4 => Treatment::ByteByByte,
            5 | 6 => Treatment::Narrow(100 + bytes),
            7..=10 => Treatment::Late(Duration::from_millis(chance.below(20))),
            _ => Treatment::Untouched,
        }
    }
}

async fn carry(client: TcpStream, state: Arc<State>) {
    let treatment = state.draw();
    if matches!(treatment, Treatment::Refused) {
        state.broken.fetch_add(1, Relaxed);
        drop(client.set_zero_linger());
        return;
    }
    let Ok(pbx) = TcpStream::connect(state.pbx).await else { return };
    let (mut from_client, to_client) = client.into_split();
    let (from_pbx, mut to_pbx) = pbx.into_split();
    let asking = async {
        // Whichever side ends, the other hears of it.
        drop(copy(&mut from_client, &mut to_pbx).await);
        drop(to_pbx.shutdown().await);
    };
    let answering = answer(from_pbx, to_client, treatment, &state);
    // A client that has gone wants no more, and the PBX counts its connections.
    tokio::select! {
        () = asking => {}
        is_reset = answering => {
            if is_reset {
                drop(from_client.as_ref().set_zero_linger());
            }
        }
    }
}

/// Passes the reply on. `true` if the connection is to be reset.
async fn answer(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    treatment: Treatment,
    state: &State,
) -> bool {
    let mut passed = 0;
    let mut chunk = vec![0; 8192];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        let bytes = &chunk[..count];
        let sent = match treatment {
            Treatment::Late(by) => {
                tokio::time::sleep(by).await;
                to.write_all(bytes).await
            }
            Treatment::Narrow(width) => in_pieces(&mut to, bytes, width).await,
            Treatment::ByteByByte => {
                let slow = bytes.len().min(60usize.saturating_sub(passed));
                match in_pieces(&mut to, &bytes[..slow], 1).await {
                    Ok(()) => to.write_all(&bytes[slow..]).await,
                    error => error,
                }
            }
            Treatment::Stalls(after) | Treatment::Ends(after) | Treatment::Resets(after)
                if passed + count > after =>
            {
                drop(to.write_all(&bytes[..after.saturating_sub(passed)]).await);
                state.broken.fetch_add(1, Relaxed);
                if matches!(treatment, Treatment::Stalls(_)) {
                    tokio::time::sleep(STALL).await;
                }
                return matches!(treatment, Treatment::Resets(_));
            }
            _ => to.write_all(bytes).await,
        };
        if sent.is_err() {
            break;
        }
        passed += count;
    }
    drop(to.shutdown().await);
    false
}

async fn in_pieces(to: &mut OwnedWriteHalf, bytes: &[u8], width: usize) -> std::io::Result<()> {
    for piece in bytes.chunks(width) {
        to.write_all(piece).await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
