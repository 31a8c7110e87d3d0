//! Which addresses deliveries may go to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bravo_model::{Code, Refusal};
use http::Uri;

/// Where a delivery goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Whether it goes over TLS.
    pub(super) tls: bool,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    /// The scheme's if the address names none.
    pub(super) port: u16,
    /// Host and port as they stand in the address.
    pub(super) authority: String,
    /// What is asked there.
    pub(super) path: String,
}

impl Target {
    /// Reads the address of a webhook.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| "not an address such as https://example.org/hook".to_owned())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("https://… or http://…".into()),
        };
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("no user or password: a delivery is known by its signature".into());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err("it names no host".into());
        }
        Ok(Self {
            tls,
            host,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }
}

/// Refuses an address that no delivery can go to, as far as it can be told without asking for names.
pub(crate) fn check_url(url: &str, allow_private: bool) -> Result<(), Refusal> {
    let refuse = |detail: String| Err(Refusal::new(Code::InvalidArgument, format!("url: {detail}")));
    match Target::parse(url) {
        Err(detail) => refuse(detail),
        Ok(target) => match target.host.parse::<IpAddr>() {
            Ok(ip) if !allow_private && !is_public(ip) => refuse(private(ip)),
            _ => Ok(()),
        },
    }
}

/// What is said of an address that is refused.
pub(super) fn private(ip: IpAddr) -> String {
    format!("{ip} is a private address; only webhooks.allow_private lets deliveries go there")
}

/// Whether an address is one of the public internet. Whatever is not known to be is not.
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = match a {
        // This network, private, loopback; multicast, reserved and broadcast.
        0 | 10 | 127 | 224.. => true,
        // Shared by carriers.
        100 => (64..128).contains(&b),
        // Link-local: the metadata of clouds is here.
        169 => b == 254,
        172 => (16..32).contains(&b),
        // Protocols, documentation, relays, private.
        192 => (b == 0 && (c == 0 || c == 2)) || (b == 88 && c == 99) || b == 168,
        // Benchmarks, documentation.
        198 => b == 18 || b == 19 || (b == 51 && c == 100),
        203 => b == 0 && c == 113,
        _ => false,
    };
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(mapped) = ip.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    let [a, b, c, d, e, f, ..] = ip.segments();
    // Translated by the network to the IPv4 address at its end.
    if (a, b, c, d, e, f) == (0x64, 0xff9b, 0, 0, 0, 0) {
        let [.., w, x, y, z] = ip.octets();
        return is_public_v4(Ipv4Addr::new(w, x, y, z));
    }
    // Global unicast without protocols (Teredo, benchmarks …), documentation and 6to4.
    (0x2000..0x4000).contains(&a)
        && !(a == 0x2001 && b < 0x200)
        && !(a == 0x2001 && b == 0xdb8)
        && a != 0x2002
        && !(a == 0x3fff && b < 0x1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        let private = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        for ip in private {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        let public = [
            "1.1.1.1",
            "9.255.255.255",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700::1",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ];
        for ip in public {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn an_address_is_http_with_a_host_and_no_password() {
        let target = Target::parse("https://Example.org/a?b=c").unwrap();
        assert_eq!((target.tls, target.port, target.path.as_str()), (true, 443, "/a?b=c"));
        let target = Target::parse("http://[::1]:8080").unwrap();
        assert_eq!((target.host.as_str(), target.port, target.path.as_str()), ("::1", 8080, "/"));
        assert_eq!(target.authority, "[::1]:8080");
        for bad in
            ["", "/path", "example.org", "ftp://example.org/", "https://", "https://u:p@example.org/", "http://a b/"]
        {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_private_address_is_refused_when_the_webhook_is_put() {
        assert!(check_url("http://169.254.169.254/latest", false).is_err());
        assert!(check_url("http://[::1]/", false).is_err());
        assert!(check_url("http://169.254.169.254/latest", true).is_ok());
        assert!(check_url("https://localhost/", false).is_ok(), "names are looked at when something is sent");
    }
}
