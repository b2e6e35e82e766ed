//! Where a connection comes from.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An IPv4 address, or the network of an IPv6 address, in which its owner has as many addresses as they like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source(IpAddr);

impl Source {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                let [a, b, c, d, ..] = address.segments();
                Self(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
            }
            address => Self(address),
        }
    }

    /// A proxy on this machine speaks for many; so does its own health check.
    pub(super) fn is_this_machine(self) -> bool {
        self.0.is_loopback()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V6(network) if !network.is_loopback() => write!(f, "{network}/64"),
            address => write!(f, "{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_source_and_an_address_of_ipv4_too() {
        for (address, expected, is_this_machine) in [
            ("192.0.2.7", "192.0.2.7", false),
            ("::ffff:192.0.2.7", "192.0.2.7", false),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", false),
            ("2001:db8:1:2::", "2001:db8:1:2::/64", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
            ("::1", "::1", true),
        ] {
            let source = Source::of(address.parse().unwrap());
            assert_eq!((source.to_string().as_str(), source.is_this_machine()), (expected, is_this_machine));
        }
    }
}
