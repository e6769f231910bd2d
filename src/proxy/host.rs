//! What `Host` may say.

/// Whether `host` is a name or an address, with a port that is one (RFC 9110, 7.2).
pub(super) fn names_a_host(host: &[u8]) -> bool {
    // Most are plain, and need not be taken apart.
    let colon = host.iter().position(|byte| *byte == b':');
    let (name, port) = host.split_at(colon.unwrap_or(host.len()));
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let digits = port.get(1..).unwrap_or_default();
    let number = digits.iter().try_fold(0_u32, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0'))
    });
    let is_port = digits.len() <= 5 && number.is_some_and(|number| number <= u16::MAX.into());
    if !name.is_empty() && name.iter().all(plain) && is_port {
        return true;
    }
    http::uri::Authority::try_from(host).is_ok_and(|authority| {
        let text = authority.as_str();
        let has_port = authority.host().len() < text.len();
        !text.contains(['@', ','])
            && (!has_port || authority.port_u16().is_some() || text.ends_with(':'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_a_port() {
        for good in ["h", "h:80", "h:", "127.0.0.1:1", "[::1]", "[::1]:65535", "a_b.example"] {
            assert!(names_a_host(good.as_bytes()), "{good}");
        }
        for bad in ["a,b", "user@h", "h:99999", "h:x", "a b", "a/b", "[::1"] {
            assert!(!names_a_host(bad.as_bytes()), "{bad}");
        }
    }
}
