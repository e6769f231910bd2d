//! Text of strangers made harmless: whatever they send, a line stays one line, and a field one field.

/// What stands after text that was cut.
const CUT: &[u8] = b"...";

/// Appends `text` as a JSON string of at most `bytes_max` bytes of it. What is not UTF-8 becomes U+FFFD;
/// what a terminal would act upon, or a reader might take for the end of a line, is escaped.
pub(super) fn json(out: &mut Vec<u8>, text: &[u8], bytes_max: usize) {
    out.push(b'"');
    let (text, cut) = bounded(text, bytes_max);
    // Without an early end, so that many bytes are looked at together.
    if text.iter().fold(true, |plain, &byte| plain & is_plain(byte)) {
        out.extend_from_slice(text);
    } else {
        for chunk in text.utf8_chunks() {
            chunk.valid().chars().for_each(|c| json_char(out, c));
            if !chunk.invalid().is_empty() {
                out.extend_from_slice(b"\\ufffd");
            }
        }
    }
    if cut {
        out.extend_from_slice(CUT);
    }
    out.push(b'"');
}

fn json_char(out: &mut Vec<u8>, c: char) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        // None of these is beyond the first plane, so four digits do.
        c if c.is_control() || is_unseen(c) => {
            out.extend_from_slice(b"\\u");
            let code = c as u32;
            for shift in [12, 8, 4, 0] {
                out.push(digit((code >> shift) as u8));
            }
        }
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Line ends that are no control characters, and what turns the direction of text around.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// Appends `text` in quotes, at most `bytes_max` bytes of it, as [`bare`] does.
pub(super) fn text(out: &mut Vec<u8>, text: &[u8], bytes_max: usize) {
    out.push(b'"');
    bare(out, text, bytes_max);
    out.push(b'"');
}

/// Appends at most `bytes_max` bytes of `text`; every byte that is not visible ASCII or a space, and
/// quotes and backslashes, as `\x0a`.
pub(super) fn bare(out: &mut Vec<u8>, text: &[u8], bytes_max: usize) {
    let (text, cut) = bounded(text, bytes_max);
    for &byte in text {
        if is_plain(byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(b"\\x");
            out.push(digit(byte >> 4));
            out.push(digit(byte));
        }
    }
    if cut {
        out.extend_from_slice(CUT);
    }
}

fn bounded(text: &[u8], bytes_max: usize) -> (&[u8], bool) {
    if text.len() <= bytes_max { (text, false) } else { (&text[..bytes_max], true) }
}

fn is_plain(byte: u8) -> bool {
    (byte >= b' ') & (byte <= b'~') & (byte != b'"') & (byte != b'\\')
}

/// The lower four bits as a digit.
fn digit(bits: u8) -> u8 {
    b"0123456789abcdef"[usize::from(bits & 15)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: fn(&mut Vec<u8>, &[u8], usize), text: &[u8], bytes_max: usize) -> String {
        let mut out = Vec::new();
        write(&mut out, text, bytes_max);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_leaves_its_field_or_its_line() {
        for (given, as_json, as_text) in [
            (&b"curl/8.5 (x)"[..], r#""curl/8.5 (x)""#, r#""curl/8.5 (x)""#),
            (b"", r#""""#, r#""""#),
            (b"a\nb\r\t\0", r#""a\u000ab\u000d\u0009\u0000""#, r#""a\x0ab\x0d\x09\x00""#),
            (br#"","status":200"#, r#""\",\"status\":200""#, r#""\x22,\x22status\x22:200""#),
            (br"\u0022 \x22", r#""\\u0022 \\x22""#, r#""\x5cu0022 \x5cx22""#),
            (b"\x1b[2J\x7f", r#""\u001b[2J\u007f""#, r#""\x1b[2J\x7f""#),
            ("é".as_bytes(), "\"é\"", r#""\xc3\xa9""#),
            // C1 controls, which some terminals obey, other ends of lines, and text turned around
            ("\u{9b}2J\u{85}".as_bytes(), r#""\u009b2J\u0085""#, r#""\xc2\x9b2J\xc2\x85""#),
            ("\u{2028}\u{202e}".as_bytes(), r#""\u2028\u202e""#, r#""\xe2\x80\xa8\xe2\x80\xae""#),
            (b"a\xffb\xc3", r#""a\ufffdb\ufffd""#, r#""a\xffb\xc3""#),
            ("😀".as_bytes(), "\"😀\"", r#""\xf0\x9f\x98\x80""#),
        ] {
            assert_eq!(written(json, given, 100), as_json);
            assert_eq!(written(text, given, 100), as_text);
        }
    }

    #[test]
    fn what_is_long_is_cut_wherever_that_falls() {
        assert_eq!(written(json, b"abcdef", 3), r#""abc...""#);
        assert_eq!(written(text, b"abcdef", 3), r#""abc...""#);
        assert_eq!(written(json, "aé".as_bytes(), 2), r#""a\ufffd...""#);
        assert_eq!(written(text, b"abc", 3), r#""abc""#);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_make_one_json_string_of_one_line(bytes: Vec<u8>) {
            let json = written(json, &bytes, 64);
            let read: String = serde_json::from_str(&json).unwrap();
            assert!(bytes.len() > 64 || read == String::from_utf8_lossy(&bytes));
            assert!(!json.chars().any(char::is_control));
            let text = written(text, &bytes, 64);
            assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            assert_eq!(text.matches('"').count(), 2);
        }
    }
}
