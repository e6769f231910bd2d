//! Header fields an intermediary must change, and no others.

use std::net::IpAddr;

use http::header::{
    CONNECTION, Entry, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};

use super::peer;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Whether a field is ours: `hopwise-…`, or its twin `hopwise_…`, which some gateways take for it.
pub(super) fn is_internal(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() > 7 && bytes.starts_with(b"hopwise") && matches!(bytes[7], b'-' | b'_')
}

/// The first value of a field. Messages have few fields, so that to look at each takes less than to
/// hash a name.
pub(super) fn find<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// Fields that belong to one connection only, whether `Connection` lists them or not.
const HOP_BY_HOP: [HeaderName; 5] = [TRANSFER_ENCODING, UPGRADE, TE, KEEP_ALIVE, PROXY_CONNECTION];

/// Removes the fields that belong to one connection only (RFC 9110, 7.6.1), and our own.
///
/// Answers with the protocol that an upgrade asks for, and whether internal fields were among
/// those removed. `TE: trailers` is kept, since trailers pass.
///
/// Almost every message has none of them but `Connection: keep-alive`, so names are looked at once,
/// and nothing is looked up that is not there.
pub fn remove_connection_fields(headers: &mut HeaderMap) -> Removed {
    let mut removed = Removed::default();
    let (mut connection, mut hop_by_hop) = (false, false);
    let mut ours = Ours::default();
    for name in headers.keys() {
        connection |= *name == CONNECTION;
        hop_by_hop |= HOP_BY_HOP.contains(name);
        ours.count(name);
    }
    removed.internal = ours.all > 0;
    let mut trailers = false;
    if connection {
        let listed = connection_options(headers);
        if listed.contains(&UPGRADE) {
            removed.upgrade = headers.get(UPGRADE).cloned();
        }
        trailers = listed.contains(&TE) && accepts_trailers(headers);
        headers.remove(CONNECTION);
        for name in listed.iter().filter(|name| !matches!(**name, HOST | TRAILER)) {
            headers.remove(name);
        }
    }
    if hop_by_hop {
        for name in &HOP_BY_HOP {
            headers.remove(name);
        }
    }
    ours.remove(headers);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("TE"));
    }
    removed
}

/// Removes our own fields, from trailers too, where they count for nothing either.
pub(super) fn remove_internal_fields(fields: &mut HeaderMap) {
    let mut ours = Ours::default();
    fields.keys().for_each(|name| ours.count(name));
    ours.remove(fields);
}

/// Our own fields in a message: almost always none, or the one that a peer sends.
#[derive(Debug, Default)]
struct Ours {
    all: usize,
    call: bool,
    report: bool,
}

impl Ours {
    fn count(&mut self, name: &HeaderName) {
        if is_internal(name.as_str()) {
            self.all += 1;
            self.call |= *name == peer::CALL;
            self.report |= *name == peer::REPORT;
        }
    }

    fn remove(&self, fields: &mut HeaderMap) {
        // These need no list of what is there.
        for (_, name) in [(self.call, peer::CALL), (self.report, peer::REPORT)]
            .into_iter()
            .filter(|(is_there, _)| *is_there)
        {
            fields.remove(name);
        }
        if self.all == usize::from(self.call) + usize::from(self.report) {
            return;
        }
        let doomed: Vec<HeaderName> =
            fields.keys().filter(|name| is_internal(name.as_str())).cloned().collect();
        for name in &doomed {
            fields.remove(name);
        }
    }
}

/// What [`remove_connection_fields`] found.
#[derive(Debug, Default)]
pub struct Removed {
    /// The protocol that `Connection: upgrade` asks for.
    pub upgrade: Option<HeaderValue>,
    /// Whether there were fields of ours.
    pub internal: bool,
}

/// The fields that `Connection` lists, apart from what it says of the connection itself.
fn connection_options(headers: &HeaderMap) -> Vec<HeaderName> {
    let about_itself = |option: &&str| {
        option.eq_ignore_ascii_case("keep-alive") || option.eq_ignore_ascii_case("close")
    };
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(',').map(str::trim))
        .filter(|option| !about_itself(option))
        .filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok())
        .collect()
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(TE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        coding.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("trailers"))
    })
}

/// Asks for (or grants) an upgrade to `protocol` on the next connection.
pub(super) fn restore_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// A client's address as [`append_forwarded_for`] writes it.
pub fn forwarded_for(client: IpAddr) -> HeaderValue {
    let text = match client.to_canonical() {
        // By hand, since it is written for every connection.
        IpAddr::V4(address) => {
            let mut text = String::with_capacity("255.255.255.255".len());
            for octet in address.octets() {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(itoa::Buffer::new().format(octet));
            }
            text
        }
        IpAddr::V6(address) => address.to_string(),
    };
    // An address has no character that a field value cannot have.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// Says on whose behalf the request is sent, by appending the client's address (after RFC 7239).
pub fn append_forwarded_for(headers: &mut HeaderMap, client: &HeaderValue) {
    match headers.entry(FORWARDED_FOR) {
        Entry::Vacant(none) => drop(none.insert(client.clone())),
        Entry::Occupied(mut earlier) => {
            let all: Vec<&[u8]> =
                earlier.iter().chain([client]).map(HeaderValue::as_bytes).collect();
            if let Ok(all) = HeaderValue::from_bytes(&all.join(b", ".as_slice())) {
                earlier.insert(all);
            }
        }
    }
}

/// Notes the host and the scheme that the client used, unless an earlier proxy has noted them.
pub fn note_forwarded(headers: &mut HeaderMap, scheme: &'static str) {
    let host = find(headers, &HOST).cloned();
    if let (Entry::Vacant(none), Some(host)) = (headers.entry(FORWARDED_HOST), host) {
        none.insert(host);
    }
    if let Entry::Vacant(none) = headers.entry(FORWARDED_PROTO) {
        none.insert(HeaderValue::from_static(scheme));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    fn names(map: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn connection_fields_go_and_the_rest_stays() {
        let mut map = headers(&[
            ("host", "h"),
            ("connection", "keep-alive, X-Foo"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("x-foo", "1"),
            ("x-bar", "2"),
            ("trailer", "x-sum"),
        ]);
        let removed = remove_connection_fields(&mut map);
        assert_eq!(names(&map), ["host", "trailer", "x-bar"]);
        assert!(removed.upgrade.is_none() && !removed.internal);
    }

    #[test]
    fn a_client_cannot_have_host_removed() {
        let mut map = headers(&[("host", "h"), ("connection", "host, close")]);
        remove_connection_fields(&mut map);
        assert_eq!(names(&map), ["host"]);
    }

    #[test]
    fn an_upgrade_needs_both_fields() {
        let mut map = headers(&[("connection", "Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(remove_connection_fields(&mut map).upgrade.unwrap(), "websocket");
        let mut map = headers(&[("upgrade", "websocket")]);
        assert!(remove_connection_fields(&mut map).upgrade.is_none());
        assert!(map.is_empty());
    }

    #[test]
    fn trailers_stay_asked_for() {
        let mut map = headers(&[("connection", "te"), ("te", "gzip, Trailers;q=0.5")]);
        remove_connection_fields(&mut map);
        assert_eq!(map.get(TE).unwrap(), "trailers");
        let mut map = headers(&[("te", "trailers")]);
        remove_connection_fields(&mut map);
        assert!(map.is_empty(), "TE counts only when Connection lists it");
    }

    #[test]
    fn internal_fields_and_their_twins_are_removed() {
        for ours in [
            &["hopwise-call"][..],
            &["hopwise-report"],
            &["hopwise-call", "hopwise_call", "hopwise-report"],
            &["hopwise-hop", "hopwise_via", "hopwise-"],
        ] {
            let mut map = headers(&[("hopwiser", "b"), ("host", "h")]);
            for name in ours {
                map.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
                map.append(HeaderName::from_static(name), HeaderValue::from_static("2"));
            }
            assert!(remove_connection_fields(&mut map).internal);
            assert_eq!(names(&map), ["hopwiser", "host"]);
        }
    }

    #[test]
    fn forwarded_fields_are_appended_and_never_overwritten() {
        let client: IpAddr = "192.0.2.7".parse().unwrap();
        let mut map = headers(&[("host", "h:1")]);
        append_forwarded_for(&mut map, &forwarded_for(client));
        note_forwarded(&mut map, "http");
        assert_eq!(map["x-forwarded-for"], "192.0.2.7");
        assert_eq!(map["x-forwarded-host"], "h:1");
        assert_eq!(map["x-forwarded-proto"], "http");
        let mut map = headers(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-host", "first"),
            ("x-forwarded-proto", "https"),
        ]);
        append_forwarded_for(&mut map, &forwarded_for("::ffff:192.0.2.7".parse().unwrap()));
        note_forwarded(&mut map, "http");
        assert_eq!(map["x-forwarded-for"], "10.0.0.1, 10.0.0.2, 192.0.2.7");
        assert_eq!(map.get_all("x-forwarded-for").iter().count(), 1);
        assert_eq!(map["x-forwarded-host"], "first");
        assert_eq!(map["x-forwarded-proto"], "https");
    }
}
