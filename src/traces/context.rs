//! `traceparent` and `tracestate`, as W3C Trace Context has them.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::TraceState;
use opentelemetry::{SpanId, TraceFlags, TraceId};

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Version, trace id, parent id and flags, with what is between them.
const LENGTH: usize = 55;
/// Most members of a state.
const MEMBERS_MAX: usize = 32;
/// The flags that are passed on: sampled, and that the trace id is random.
const FLAGS: u8 = 0b11;

/// The span that a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) flags: TraceFlags,
}

/// What a `traceparent` says of it, if that makes sense.
pub(super) fn parse(value: &[u8]) -> Option<Parent> {
    let (known, more) = value.split_at_checked(LENGTH)?;
    let [version] = hex(&known[..2])?;
    // Later versions may add to it, and the first does not.
    let whole =
        if version == 0 { more.is_empty() } else { more.first().is_none_or(|b| *b == b'-') };
    let apart = [2, 35, 52].iter().all(|&at| known[at] == b'-');
    if version == 0xff || !whole || !apart {
        return None;
    }
    let trace = TraceId::from_bytes(hex(&known[3..35])?);
    let span = SpanId::from_bytes(hex(&known[36..52])?);
    let [flags] = hex(&known[53..])?;
    let known = trace != TraceId::INVALID && span != SpanId::INVALID;
    known.then_some(Parent { trace, span, flags: TraceFlags::new(flags & FLAGS) })
}

/// The bytes of lower-case hexadecimal digits.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

/// The `traceparent` of what comes from `span`.
pub(super) fn written(trace: TraceId, span: SpanId, flags: TraceFlags) -> Option<HeaderValue> {
    let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
    write_hex(&trace.to_bytes(), &mut value[3..35]);
    write_hex(&span.to_bytes(), &mut value[36..52]);
    write_hex(&[flags.to_u8()], &mut value[53..]);
    HeaderValue::from_bytes(&value).ok()
}

/// The two digits of every byte.
const DIGITS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

fn write_hex(bytes: &[u8], digits: &mut [u8]) {
    for (byte, pair) in bytes.iter().zip(digits.chunks_exact_mut(2)) {
        pair.copy_from_slice(&DIGITS[usize::from(*byte)]);
    }
}

/// What others keep with the trace; one that makes no sense is removed, as it has to be.
pub(super) fn state(headers: &mut HeaderMap) -> TraceState {
    if !headers.contains_key(&TRACESTATE) {
        return TraceState::NONE;
    }
    parse_state(headers).unwrap_or_else(|| {
        headers.remove(&TRACESTATE);
        TraceState::NONE
    })
}

fn parse_state(headers: &HeaderMap) -> Option<TraceState> {
    let mut members = Vec::new();
    for field in headers.get_all(&TRACESTATE) {
        // Members may be empty, but their keys may not.
        let those = field.to_str().ok()?.split(',').map(str::trim).filter(|m| !m.is_empty());
        members.extend(those);
    }
    let sound = members.len() <= MEMBERS_MAX && !members.iter().any(|m| m.starts_with('='));
    if sound { members.join(",").parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(field: &str) -> Option<Parent> {
        parse(field.as_bytes())
    }

    #[test]
    fn a_parent_comes_out_as_it_went_in() {
        let parent = of(GOOD).unwrap();
        assert!(parent.flags.is_sampled());
        assert_eq!(written(parent.trace, parent.span, parent.flags).unwrap(), GOOD);
    }

    #[test]
    fn the_specification_is_followed_to_the_letter() {
        let later = GOOD.replacen("00", "cc", 1);
        for good in [
            &GOOD.replace("-01", "-00"),
            &GOOD.replace("-01", "-03"),
            &GOOD.replace("-01", "-ff"),
            &later,
            &format!("{later}-what-may-come"),
        ] {
            assert!(of(good).is_some(), "{good}");
        }
        assert_eq!(of(&GOOD.replace("-01", "-ff")).unwrap().flags.to_u8(), FLAGS);
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-"),
            &format!("{GOOD}-01"),
            &format!("{later}01"),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replacen("00", "0G", 1),
            &GOOD.to_uppercase(),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace('-', "_"),
            &GOOD.replace("a3ce", "a3c "),
            &GOOD.replace("-01", "-0x"),
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_state_that_makes_no_sense_goes() {
        for (fields, kept) in [
            (&["a=1,b=2"][..], true),
            (&["a=1", "vendor@x=2"], true),
            (&["a=1,, b=2", " "], true),
            (&["no pair"], false),
            (&["a=1", "=2"], false),
        ] {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(TRACESTATE, HeaderValue::from_static(field));
            }
            let state = state(&mut headers);
            assert_eq!(headers.contains_key(TRACESTATE), kept, "{fields:?}");
            assert_eq!(!state.header().is_empty(), kept, "{fields:?}");
        }
    }
}
