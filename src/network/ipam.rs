//! Which addresses of a subnet are leased.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// A pool never hands out more than this many addresses, however large its subnet: the bitmap stays at 8 KiB.
const MOST: u128 = 1 << 16;

/// The addresses of one subnet. The first is the gateway's; pods get the others.
///
/// A freed address is handed out again as late as possible: peers may still have it in their tables.
#[derive(Debug)]
pub(super) struct Pool {
    subnet: IpNet,
    /// Address number 0 as an integer; it is never leased.
    base: u128,
    /// One past the highest number that may be leased.
    end: usize,
    /// One bit for each number, set when it is leased or never to be leased.
    taken: Vec<u64>,
    /// Where the search for a free address begins.
    next: usize,
}

impl Pool {
    /// A pool with nothing leased.
    ///
    /// # Errors
    /// A sentence when the subnet cannot hold a gateway and a pod.
    pub(super) fn new(subnet: IpNet) -> Result<Self, &'static str> {
        let subnet = subnet.trunc();
        if subnet.addr().is_multicast() || subnet.addr().is_loopback() {
            return Err("is not a range of unicast addresses");
        }
        let bits = subnet.max_prefix_len() - subnet.prefix_len();
        let size = 1u128.checked_shl(bits.into()).unwrap_or(u128::MAX);
        // The last address of an IPv4 subnet is its broadcast address.
        let usable = if matches!(subnet, IpNet::V4(_)) { size.saturating_sub(1) } else { size };
        if usable < FIRST as u128 + 1 {
            return Err("has no room for a gateway and a pod");
        }
        let end = usable.min(MOST) as usize;
        let mut taken = vec![0u64; end.div_ceil(64)];
        taken[0] = 0b11;
        // Numbers past the end are never free.
        if !end.is_multiple_of(64) {
            taken[end / 64] |= u64::MAX << (end % 64);
        }
        Ok(Self { subnet, base: to_integer(subnet.addr()), end, taken, next: FIRST })
    }

    /// The subnet.
    pub(super) fn subnet(&self) -> IpNet {
        self.subnet
    }

    /// Leases the next free address.
    pub(super) fn lease(&mut self) -> Option<IpAddr> {
        let number = self.free_between(self.next, self.end).or_else(|| self.free_between(FIRST, self.next))?;
        self.taken[number / 64] |= 1 << (number % 64);
        self.next = if number + 1 < self.end { number + 1 } else { FIRST };
        Some(self.address(number))
    }

    /// Marks an address as leased that was leased before a restart; one of another subnet is no concern of this pool.
    pub(super) fn claim(&mut self, address: IpAddr) {
        if let Some(number) = self.number(address) {
            self.taken[number / 64] |= 1 << (number % 64);
            self.next = self.next.max(number + 1);
            if self.next >= self.end {
                self.next = FIRST;
            }
        }
    }

    /// Frees an address.
    pub(super) fn free(&mut self, address: IpAddr) {
        if let Some(number) = self.number(address) {
            self.taken[number / 64] &= !(1 << (number % 64));
        }
    }

    /// The lowest free number from `from` up to `to`.
    fn free_between(&self, from: usize, to: usize) -> Option<usize> {
        let mut word = from / 64;
        let mut taken = self.taken.get(word)? | ((1u64 << (from % 64)) - 1);
        loop {
            if taken != u64::MAX {
                let number = word * 64 + taken.trailing_ones() as usize;
                return (number < to).then_some(number);
            }
            word += 1;
            if word * 64 >= to {
                return None;
            }
            taken = *self.taken.get(word)?;
        }
    }

    fn number(&self, address: IpAddr) -> Option<usize> {
        if !self.subnet.contains(&address) {
            return None;
        }
        let number = usize::try_from(to_integer(address) - self.base).ok()?;
        (FIRST..self.end).contains(&number).then_some(number)
    }

    fn address(&self, number: usize) -> IpAddr {
        nth(self.subnet, number as u128)
    }
}

/// The first number that a pod may get: 0 is the subnet itself, 1 the gateway.
const FIRST: usize = 2;

/// The address of the gateway of a subnet: its first.
pub(super) fn gateway(subnet: IpNet) -> IpAddr {
    nth(subnet.trunc(), 1)
}

fn nth(subnet: IpNet, number: u128) -> IpAddr {
    let address = to_integer(subnet.addr()) + number;
    match subnet {
        // The sum stays below 2^32, because the number is less than the size of the subnet.
        IpNet::V4(_) => Ipv4Addr::from(address as u32).into(),
        IpNet::V6(_) => Ipv6Addr::from(address).into(),
    }
}

fn to_integer(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn pool(subnet: &str) -> Pool {
        Pool::new(subnet.parse().expect("subnet")).expect("pool")
    }

    #[test]
    fn every_address_but_network_gateway_and_broadcast_is_leased_once() {
        let mut pool = pool("10.1.2.128/29");
        let leased: Vec<_> = std::iter::from_fn(|| pool.lease()).map(|address| address.to_string()).collect();
        assert_eq!(leased, ["10.1.2.130", "10.1.2.131", "10.1.2.132", "10.1.2.133", "10.1.2.134"]);
        assert_eq!(gateway(pool.subnet()).to_string(), "10.1.2.129");
    }

    #[test]
    fn a_freed_address_comes_again_only_after_all_others() {
        let mut pool = pool("fd00::/125");
        let first = pool.lease().expect("first");
        pool.free(first);
        let later: Vec<_> = (0..5).map(|_| pool.lease().expect("free")).collect();
        assert!(!later.contains(&first));
        assert_eq!(pool.lease(), Some(first));
        assert_eq!(pool.lease(), None);
    }

    #[test]
    fn claimed_addresses_are_not_leased_and_strangers_are_ignored() {
        let mut pool = pool("10.0.0.0/30");
        pool.claim("10.0.0.2".parse().expect("address"));
        pool.claim("10.9.9.9".parse().expect("address"));
        pool.free("10.0.0.1".parse().expect("address"));
        assert_eq!(pool.lease(), None, "the gateway must never be leased");
    }

    #[test]
    fn a_large_subnet_gives_every_address_of_its_window_and_then_none() {
        for subnet in ["10.88.0.0/16", "fd00:10:88::/64", "10.0.0.0/8", "::/0"] {
            let mut pool = pool(subnet);
            let net: IpNet = subnet.parse().expect("subnet");
            let leased: HashSet<_> = std::iter::from_fn(|| pool.lease()).collect();
            let most = if subnet == "10.88.0.0/16" { 65_533 } else { 65_534 };
            assert_eq!(leased.len(), most, "{subnet}");
            assert!(leased.iter().all(|address| net.contains(address)));
        }
    }

    #[test]
    fn subnets_without_room_are_refused() {
        for subnet in ["10.0.0.0/31", "10.0.0.1/32", "fd00::/127", "fd00::1/128", "224.0.0.0/4", "127.0.0.0/8"] {
            assert!(Pool::new(subnet.parse().expect("subnet")).is_err(), "{subnet}");
        }
        assert!(Pool::new("10.0.0.0/30".parse().expect("subnet")).is_ok());
    }
}
