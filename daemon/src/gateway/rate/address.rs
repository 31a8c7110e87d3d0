//! Whom a request is from: the other end of its connection, or whom a trusted proxy speaks for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

use crate::config::ProxyHeader;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What has one limit: an address, or of IPv6 the network of 64 bits that one customer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    V4(Ipv4Addr),
    V6([u8; 8]),
}

impl Source {
    /// The source that an address belongs to.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let mut network = [0; 8];
                network.copy_from_slice(&address.octets()[..8]);
                Self::V6(network)
            }
        }
    }
}

/// Whether one of the networks has this address.
pub(crate) fn within(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// Proxies that are believed, and the header in which they say whom they speak for: a proxy adds to one, and hands on
/// what a caller wrote into the other.
pub(super) struct Proxies {
    pub(super) trusted: Vec<IpNet>,
    pub(super) header: ProxyHeader,
}

/// Whom a request is from that came from `peer`: its own word counts for nothing, that of trusted proxies does. The
/// addresses are looked at from the nearest on; the first one that is no trusted proxy's is who asks.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, proxies: &Proxies) -> IpAddr {
    let (peer, trusted) = (peer.to_canonical(), &proxies.trusted);
    if trusted.is_empty() || !within(trusted, peer) {
        return peer;
    }
    let mut nearest = peer;
    for hop in hops(headers, proxies.header).into_iter().rev() {
        // What cannot be read was said by the last one that could, and is taken for it.
        let Some(address) = hop else { return nearest };
        nearest = address;
        if !within(trusted, address) {
            return address;
        }
    }
    nearest
}

/// Those that a request came by, the farthest first.
fn hops(headers: &HeaderMap, header: ProxyHeader) -> Vec<Option<IpAddr>> {
    let (name, read): (_, fn(&str) -> _) = match header {
        ProxyHeader::XForwardedFor => (&X_FORWARDED_FOR, address),
        ProxyHeader::Forwarded => (&FORWARDED, forwarded),
    };
    let values = headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or("?"));
    values.flat_map(|line| line.split(',').map(read)).collect()
}

/// The address in `for=…` of one element.
fn forwarded(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    address(node.trim().trim_matches('"'))
}

/// An address with or without a port, of IPv6 in brackets where it has one.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    bare.parse::<IpAddr>().ok().or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn asked_by(peer: &str, lines: &[(&'static str, &'static str)]) -> IpAddr {
        let header = lines.iter().any(|(name, _)| *name == "forwarded");
        told_in(if header { ProxyHeader::Forwarded } else { ProxyHeader::XForwardedFor }, peer, lines)
    }

    fn told_in(header: ProxyHeader, peer: &str, lines: &[(&'static str, &'static str)]) -> IpAddr {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let trusted = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        client(ip(peer), &headers, &Proxies { trusted, header })
    }

    #[test]
    fn what_a_caller_wrote_into_the_header_that_its_proxy_only_hands_on_is_not_believed() {
        let lines = [("forwarded", "for=127.0.0.1"), ("x-forwarded-for", "198.51.100.7")];
        assert_eq!(told_in(ProxyHeader::XForwardedFor, "10.0.0.1", &lines), ip("198.51.100.7"));
        assert_eq!(told_in(ProxyHeader::Forwarded, "10.0.0.1", &lines), ip("127.0.0.1"));
        assert_eq!(told_in(ProxyHeader::XForwardedFor, "10.0.0.1", &lines[..1]), ip("10.0.0.1"));
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let said = ("x-forwarded-for", "198.51.100.7");
        assert_eq!(asked_by("203.0.113.1", &[said]), ip("203.0.113.1"));
        assert_eq!(asked_by("10.0.0.1", &[said]), ip("198.51.100.7"));
        assert_eq!(asked_by("::ffff:10.0.0.1", &[said]), ip("198.51.100.7"));
        assert_eq!(asked_by("10.0.0.1", &[]), ip("10.0.0.1"));
    }

    #[test]
    fn the_nearest_address_that_is_no_proxys_is_who_asks() {
        let lied = ("x-forwarded-for", "1.1.1.1, 198.51.100.7:4711");
        assert_eq!(asked_by("10.0.0.1", &[lied, ("x-forwarded-for", "10.9.9.9")]), ip("198.51.100.7"));
        assert_eq!(asked_by("10.0.0.1", &[("x-forwarded-for", "10.1.1.1,10.2.2.2")]), ip("10.1.1.1"));
        assert_eq!(asked_by("10.0.0.1", &[("x-forwarded-for", "1.1.1.1, nonsense, 10.2.2.2")]), ip("10.2.2.2"));
    }

    #[test]
    fn forwarded_is_read_in_all_its_forms() {
        for value in [
            "for=\"[2001:db8::7]:4711\"",
            "proto=https;For=\"[2001:db8::7]\"",
            "for=1.1.1.1, for=\"[2001:db8::7]\";by=x",
        ] {
            assert_eq!(asked_by("fd00::1", &[("forwarded", value), ("x-forwarded-for", "9.9.9.9")]), ip("2001:db8::7"));
        }
        for value in ["for=unknown", "for=_hidden", "by=1.1.1.1", ""] {
            assert_eq!(asked_by("10.0.0.1", &[("forwarded", value)]), ip("10.0.0.1"), "{value}");
        }
    }

    #[test]
    fn a_network_of_64_bits_is_one_source() {
        assert_eq!(Source::of(ip("2001:db8:0:1::1")), Source::of(ip("2001:db8:0:1:ffff::2")));
        assert_ne!(Source::of(ip("2001:db8:0:1::1")), Source::of(ip("2001:db8:0:2::1")));
        assert_eq!(Source::of(ip("::ffff:192.0.2.1")), Source::of(ip("192.0.2.1")));
        assert_ne!(Source::of(ip("192.0.2.1")), Source::of(ip("192.0.2.2")));
    }
}
