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
    /// Bound but not listening: keeps the port while the door is closed.
    closed: Option<TcpSocket>,
    orders: watch::Receiver<Order>,
    obeyed: watch::Sender<Obeyed>,
}

impl Outages {
    /// No outage, and the door of `listener`.
    pub(super) fn new(listener: TcpListener, address: SocketAddr) -> (Self, Door) {
        let (orders, to_obey) = watch::channel(Order::default());
        let (obeyed, to_await) = watch::channel(Obeyed::default());
        let door = Door { address, open: Some(listener), closed: None, orders: to_obey, obeyed };
        (Self { orders, obeyed: to_await, power: Mutex::default() }, door)
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
        let done = if outage == Outage::Refused { self.close() } else { self.open() };
        self.obeyed.send_replace(Obeyed { number, error: done.err().map(|error| error.to_string()) });
    }

    fn close(&mut self) -> io::Result<()> {
        if self.open.take().is_some() {
            self.closed = Some(reserve(self.address)?);
        }
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        if self.open.is_none() {
            let socket = self.closed.take().map_or_else(|| reserve(self.address), Ok)?;
            self.open = Some(socket.listen(BACKLOG)?);
        }
        Ok(())
    }
}

/// A socket that holds the port and does not listen: whoever connects is refused.
fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
