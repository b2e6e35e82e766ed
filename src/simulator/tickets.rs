//! Tickets: one file or range, one use, 30 s, for the session and the address that asked (`docs/pbx-api.md` §5).

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use jiff::Timestamp;

use super::chance::hex32;
use super::clock::between;
use super::profile::SimulatorOptions;

/// Tickets beyond this many push out the oldest, spent or not.
const TICKETS_MAX: usize = 100_000;

/// What a ticket allows to download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A recording by its name.
    Recording(Vec<u8>),
    /// A voicemail message by its place.
    Voicemail { extension: String, file: String, status: Option<String> },
    /// The CDR of a range.
    Cdr { extension: String, from: String, to: String },
}

/// Why a ticket is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Never issued, or for another target, session or address.
    Unknown,
    /// Too old.
    Expired,
    /// Spent before.
    Reused,
}

/// The holder of a ticket, as far as the device can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    /// The session.
    pub(super) token: String,
    /// The address.
    pub(super) address: IpAddr,
}

/// The tickets in circulation.
#[derive(Debug)]
pub(super) struct Tickets {
    options: SimulatorOptions,
    tickets: HashMap<String, Ticket>,
    order: VecDeque<String>,
    issued: u64,
}

#[derive(Debug)]
struct Ticket {
    target: Target,
    holder: Holder,
    allowed: Option<IpAddr>,
    issued: Timestamp,
    spent: bool,
}

impl Tickets {
    /// None yet.
    pub(super) fn new(options: &SimulatorOptions) -> Self {
        Self { options: options.clone(), tickets: HashMap::new(), order: VecDeque::new(), issued: 0 }
    }

    /// Issues a ticket; `allowed` is one more address that may use it.
    pub(super) fn issue(
        &mut self,
        target: Target,
        holder: Holder,
        allowed: Option<IpAddr>,
        now: Timestamp,
    ) -> String {
        let random = self.random(self.issued);
        self.issued += 1;
        let ticket = Ticket { target, holder, allowed, issued: now, spent: false };
        self.tickets.insert(random.clone(), ticket);
        self.order.push_back(random.clone());
        if self.order.len() > TICKETS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.tickets.remove(&oldest);
        }
        random
    }

    /// Spends a ticket; returns when it was issued and for what. `is_target` judges whether it is for what is asked.
    ///
    /// # Errors
    /// Why the ticket is refused; a refused ticket is not spent by it.
    pub(super) fn spend(
        &mut self,
        random: &str,
        is_target: impl Fn(&Target) -> bool,
        holder: &Holder,
        now: Timestamp,
    ) -> Result<(Timestamp, Target), Refusal> {
        let ticket = self.tickets.get_mut(random).ok_or(Refusal::Unknown)?;
        let address = holder.address;
        let at_home = ticket.holder.address == address || ticket.allowed == Some(address);
        if !is_target(&ticket.target) || ticket.holder.token != holder.token || !at_home {
            return Err(Refusal::Unknown);
        }
        if ticket.spent {
            return Err(Refusal::Reused);
        }
        if between(ticket.issued, now) >= self.options.ticket_ttl {
            return Err(Refusal::Expired);
        }
        ticket.spent = true;
        Ok((ticket.issued, ticket.target.clone()))
    }

    /// Makes a spent ticket good again, as a device may after an aborted download.
    pub(super) fn unspend(&mut self, random: &str) {
        if let Some(ticket) = self.tickets.get_mut(random) {
            ticket.spent = false;
        }
    }

    /// Every ticket that was ever issued.
    pub(super) fn issued(&self) -> impl Iterator<Item = String> {
        (0..self.issued).map(|at| self.random(at))
    }

    /// The ticket that is issued after `at` others.
    fn random(&self, at: u64) -> String {
        let preset = usize::try_from(at).ok().and_then(|at| self.options.preset_randoms.get(at));
        preset.cloned().unwrap_or_else(|| hex32(self.options.seed, "ticket", at + 1))
    }

    /// Forgets all, as a restart does.
    pub(super) fn forget_all(&mut self) {
        self.tickets.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_ticket_is_good_once_for_30_s_for_its_target_session_and_address() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let holder = |last, token: &str| Holder {
            token: token.to_owned(),
            address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)),
        };
        let me = holder(1, "t");
        let file = || Target::Recording(b"a.wav".to_vec());
        let mut tickets = Tickets::new(&SimulatorOptions::default());
        let random = tickets.issue(file(), me.clone(), Some(holder(9, "t").address), at(0));
        let spend = |tickets: &mut Tickets, target: Target, holder: &Holder, second| {
            tickets.spend(&random, |known| *known == target, holder, at(second)).map(|(issued, _)| issued)
        };
        let other = Target::Recording(b"b.wav".to_vec());
        assert_eq!(spend(&mut tickets, other, &me, 1), Err(Refusal::Unknown));
        assert_eq!(spend(&mut tickets, file(), &holder(1, "u"), 1), Err(Refusal::Unknown));
        assert_eq!(spend(&mut tickets, file(), &holder(2, "t"), 1), Err(Refusal::Unknown));
        assert_eq!(spend(&mut tickets, file(), &me, 30), Err(Refusal::Expired));
        assert_eq!(spend(&mut tickets, file(), &holder(9, "t"), 29), Ok(at(0)));
        assert_eq!(spend(&mut tickets, file(), &me, 29), Err(Refusal::Reused));
        tickets.unspend(&random);
        assert_eq!(spend(&mut tickets, file(), &me, 29), Ok(at(0)));
    }
}
