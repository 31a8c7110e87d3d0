//! How many connections one address has.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::rate::{self, Source};
use crate::config::{Limits, RateLimits};

/// Counts connections by address; there are no more addresses than connections.
pub(super) struct Crowd {
    of: Mutex<HashMap<Source, u32>>,
    max: u32,
    rates: RateLimits,
}

/// A connection's place.
pub(super) struct Place(Option<(Arc<Crowd>, Source)>);

impl Crowd {
    pub(super) fn new(limits: &Limits, rates: &RateLimits) -> Arc<Self> {
        Arc::new(Self { of: Mutex::default(), max: limits.connections_per_address_max, rates: rates.clone() })
    }

    /// A place for a connection from there, if the address has one left.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        if rate::is_exempt(&self.rates, address) {
            return Some(Place(None));
        }
        let source = Source::of(address);
        let mut of = self.of.lock();
        let count = of.entry(source).or_insert(0);
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Place(Some((self.clone(), source))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((crowd, source)) = self.0.take() else { return };
        if let Entry::Occupied(mut entry) = crowd.of.lock().entry(source) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_places_and_leaves_nothing_behind() {
        let limits = Limits { connections_per_address_max: 2, ..Limits::default() };
        let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        let crowd = Crowd::new(&limits, &RateLimits { trusted_proxies, ..RateLimits::default() });
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut places: Vec<_> = (0..2).map(|_| crowd.enter(ip("192.0.2.1")).unwrap()).collect();
        assert!(crowd.enter(ip("192.0.2.1")).is_none());
        assert!(crowd.enter(ip("192.0.2.2")).is_some(), "another address has its own");
        for exempt in ["127.0.0.1", "10.0.0.1"] {
            let held: Vec<_> = (0..9).map(|_| crowd.enter(ip(exempt))).collect();
            assert!(held.iter().all(Option::is_some), "{exempt}");
        }
        places.pop();
        assert!(crowd.enter(ip("192.0.2.1")).is_some());
        places.clear();
        assert!(crowd.of.lock().is_empty());
    }
}
