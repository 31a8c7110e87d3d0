//! How many requests a caller may make, and the headers that tell it.
//!
//! ```text
//!  valid key or certificate ──► "key" ─────┐
//!  anybody else, by address ──► "address" ─┴─► "global" ──► the call
//! ```
//!
//! A wrong key is no key: trying out keys counts for the address. Each node counts for itself, so that no request
//! waits for another node.

mod address;
mod keys;
mod limiter;
mod projects;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bravo_model::{Code, Refusal};
use governor::clock::DefaultClock;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use address::Proxies;
pub(crate) use address::{Source, within};
use limiter::{Limiter, Rate, Standing};
pub(crate) use projects::{Charge, Charged, Projects, SharedRate};

use super::peer::Peer;
use crate::config::RateLimits;
use crate::telemetry::events::RateLimited;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// Addresses that are told apart; an entry has some dozens of bytes.
const ADDRESSES_MAX: usize = 65_536;
/// Keys and certificates that are told apart.
const KEYS_MAX: usize = 65_536;

/// The limits of one node.
pub(crate) struct Rates {
    address: Option<Limiter<Source>>,
    key: Option<Limiter<Arc<str>>>,
    global: Option<Limiter<()>>,
    exempt: Vec<IpNet>,
    proxies: Proxies,
}

/// How it stands with a caller, for the headers of the answer.
#[derive(Default)]
pub(crate) struct Standings(Vec<Standing>);

impl Rates {
    /// As configured.
    pub(crate) fn new(config: &RateLimits) -> Self {
        let rate = |name, quota, window_s, burst, callers_max| Rate { name, quota, window_s, burst, callers_max };
        let minute = config.global_per_minute;
        Self {
            address: limiter(rate("address", config.address_per_second, 1, config.address_burst, ADDRESSES_MAX)),
            key: limiter(rate("key", config.key_per_second, 1, config.key_burst, KEYS_MAX)),
            // A second's worth at once, so that a minute's is not used up by its first moment.
            global: limiter(rate("global", minute, 60, minute.div_ceil(60), 1)),
            exempt: config.exempt.clone(),
            proxies: Proxies { trusted: config.trusted_proxies.clone(), header: config.proxy_header },
        }
    }

    /// Counts one request, which came under a valid key if `known`.
    pub(crate) fn count(
        &self,
        parts: (&Extensions, &HeaderMap),
        known: Option<Arc<str>>,
    ) -> (Standings, Result<(), Refusal>) {
        let mut standings = Standings::default();
        let counted = match (known, &self.key, &self.address) {
            (Some(key), Some(limiter), _) => standings.note("key", limiter.count(&key)),
            (None, _, Some(limiter)) => match self.asking(parts) {
                Some(source) => standings.note("address", limiter.count(&source)),
                None => Ok(()),
            },
            _ => Ok(()),
        };
        let counted = match &self.global {
            Some(global) if counted.is_ok() => standings.note("global", global.count(&())),
            _ => counted,
        };
        (standings, counted)
    }

    /// Whom a request is from.
    pub(crate) fn client(&self, (extensions, headers): (&Extensions, &HeaderMap)) -> Option<IpAddr> {
        let peer = extensions.get::<Peer>()?.address.ip();
        Some(address::client(peer, headers, &self.proxies))
    }

    /// Whom a request without a key is from; none if that address has no limit.
    fn asking(&self, parts: (&Extensions, &HeaderMap)) -> Option<Source> {
        let client = self.client(parts)?;
        (!within(&self.exempt, client)).then(|| Source::of(client))
    }
}

fn limiter<K: std::hash::Hash + Eq + Clone>(rate: Rate) -> Option<Limiter<K>> {
    Limiter::new(rate, DefaultClock::default())
}

impl Standings {
    fn note(
        &mut self,
        limit: &'static str,
        (standing, counted): (Standing, Result<(), Duration>),
    ) -> Result<(), Refusal> {
        self.0.push(standing);
        counted.map_err(|wait| {
            RateLimited { limit }.emit();
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
            Refusal::retry_after(Code::RateLimited, format!("more requests than the limit {limit:?} allows"), ms)
        })
    }

    /// Tells the caller.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        for (name, text) in [(RATE_LIMIT_POLICY, Standing::policies(&self.0)), (RATE_LIMIT, Standing::limits(&self.0))]
        {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(name, value);
            }
        }
    }
}

/// Whether connections from there are not counted: a proxy has those of all whom it speaks for.
pub(crate) fn is_exempt(config: &RateLimits, address: IpAddr) -> bool {
    within(&config.exempt, address) || within(&config.trusted_proxies, address)
}
