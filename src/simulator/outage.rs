//! The device's door: open, or closed as by a power cut.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::{future, io};

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::lock;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Whether the device is there at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outage {
    /// It is there.
    #[default]
    None,
    /// Nothing listens: connections are refused. The port stays reserved.
    Refused,
    /// Connections are accepted and reset.
    Reset,
}

/// An outage as it is ordered, and how far that has got.
#[derive(Debug)]
pub(super) struct Outages {
    orders: watch::Sender<Order>,
    obeyed: watch::Receiver<Obeyed>,
    /// Cancelled when an outage begins; then there is another one for the time after.
    power: Mutex<CancellationToken>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Order {
    number: u64,
    outage: Outage,
}

#[derive(Debug, Clone, Default)]
struct Obeyed {
    number: u64,
    error: Option<String>,
}

/// The door itself, in the hands of whoever accepts.
#[derive(Debug)]
pub(super) struct Door {
    address: SocketAddr,
    open: Option<TcpListener>,
    /// Bound, and never listening: keeps the port, also while the door opens and closes.
    _port: TcpSocket,
    orders: watch::Receiver<Order>,
    obeyed: watch::Sender<Obeyed>,
}

impl Outages {
    /// No outage, and a door at `listen` that is open.
    ///
    /// # Errors
    /// If somebody has the port, or it is not ours to take.
    pub(super) fn new(listen: SocketAddr) -> io::Result<(Self, Door)> {
        let port = socket(listen)?;
        port.bind(listen)?;
        // From now on others are refused, also those who would share an address with us; our own listeners are not.
        port.set_reuseaddr(false)?;
        port.set_reuseport(true)?;
        let (orders, to_obey) = watch::channel(Order::default());
        let (obeyed, to_await) = watch::channel(Obeyed::default());
        let mut door = Door { address: port.local_addr()?, open: None, _port: port, orders: to_obey, obeyed };
        door.open()?;
        Ok((Self { orders, obeyed: to_await, power: Mutex::default() }, door))
    }

    /// The outage at work.
    pub(super) fn now(&self) -> Outage {
        self.orders.borrow().outage
    }

    /// What is cancelled when the next outage begins.
    pub(super) fn power(&self) -> CancellationToken {
        lock(&self.power).clone()
    }

    /// Begins or ends an outage; returns when it is so. What is in flight when it begins is reset.
    ///
    /// # Errors
    /// If the port cannot be listened on any more, or the simulator has stopped.
    pub(super) async fn order(&self, outage: Outage) -> anyhow::Result<()> {
        let mut number = 0;
        self.orders.send_modify(|order| {
            number = order.number + 1;
            *order = Order { number, outage };
        });
        let mut obeyed = self.obeyed.clone();
        let obeyed = obeyed.wait_for(|obeyed| obeyed.number >= number).await;
        let error = obeyed.context("the simulator has stopped")?.error.clone();
        if outage != Outage::None {
            std::mem::take(&mut *lock(&self.power)).cancel();
        }
        error.map_or(Ok(()), |error| Err(anyhow::anyhow!("the simulator's port: {error}")))
    }
}

impl Door {
    /// Where it is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the next connection, for as long as the door is closed.
    ///
    /// # Errors
    /// If the connection is gone before it is accepted, or files ran out.
    pub(super) async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            let open = self.open.as_ref();
            let accept = async {
                match open {
                    Some(listener) => listener.accept().await,
                    None => future::pending().await,
                }
            };
            tokio::select! {
                accepted = accept => return accepted,
                Ok(()) = self.orders.changed() => {}
            }
            self.obey();
        }
    }

    fn obey(&mut self) {
        let Order { number, outage } = *self.orders.borrow_and_update();
        let done = match outage {
            Outage::Refused => {
                self.open = None;
                Ok(())
            }
            Outage::None | Outage::Reset => self.open(),
        };
        self.obeyed.send_replace(Obeyed { number, error: done.err().map(|error| error.to_string()) });
    }

    fn open(&mut self) -> io::Result<()> {
        if self.open.is_none() {
            let socket = socket(self.address)?;
            socket.set_reuseport(true)?;
            socket.bind(self.address)?;
            self.open = Some(socket.listen(BACKLOG)?);
        }
        Ok(())
    }
}

fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of a simulator that has just ended must not keep the next one from its port.
    socket.set_reuseaddr(true)?;
    Ok(socket)
}
