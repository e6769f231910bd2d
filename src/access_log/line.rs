//! One line: what it says, and how.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::LogFormat;

use super::escape;

/// Most bytes of a path that are written, and of any other text of a client's.
const PATH_BYTES_MAX: usize = 1024;
const TEXT_BYTES_MAX: usize = 256;

/// What stands before a value: as JSON has it after another value, and as text has it.
type Key = (&'static str, &'static str);

/// The time of a line as RFC 3339 has it, in UTC, to the millisecond.
const TIME: &[u8; 24] = b"0000-00-00T00:00:00.000Z";

/// The text of the last line's time: most lines are of the same second.
#[derive(Debug)]
pub(super) struct Stamp {
    second: Option<u64>,
    text: [u8; TIME.len()],
}

/// Put together when this is compiled: a line has some two dozen of them.
macro_rules! key {
    ($name:literal) => {
        (concat!(",\"", $name, "\":"), concat!(" ", $name, "="))
    };
}

/// What is said of one request. What is not known is left out.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it; config/access-log.md tells the rest")]
pub struct Line<'a> {
    pub began: SystemTime,
    pub method: &'a str,
    pub path: &'a str,
    pub protocol: &'static str,
    /// 0 where there was no answer.
    pub status: u16,
    /// Words that stand for themselves, joined by commas; `-` for none.
    pub flags: &'a str,
    pub details: &'a str,
    pub received: u64,
    pub sent: u64,
    pub total: Duration,
    pub decide: Option<Duration>,
    pub queue: Option<Duration>,
    pub connect: Option<Duration>,
    pub upstream: Option<Duration>,
    pub attempts: usize,
    pub hedged: bool,
    pub function: Option<&'a str>,
    pub architecture: Option<&'static str>,
    pub reason: Option<&'static str>,
    pub node: &'a str,
    pub target: Option<&'a str>,
    pub role: Option<&'static str>,
    pub hop: u8,
    /// The address of whoever called, and the port.
    pub client: (&'a [u8], u16),
    pub agent: Option<&'a [u8]>,
    pub request_id: Option<&'a [u8]>,
    pub call_id: Option<&'a [u8]>,
    pub trace_id: Option<&'a [u8]>,
}

impl Line<'_> {
    /// Appends it to `out`, with the end of the line.
    pub(super) fn write(&self, format: LogFormat, stamp: &mut Stamp, out: &mut Vec<u8>) {
        match format {
            LogFormat::Json => self.write_fields::<true>(stamp, out),
            LogFormat::Text | LogFormat::Off => self.write_fields::<false>(stamp, out),
        }
    }

    fn write_fields<const JSON: bool>(&self, stamp: &mut Stamp, out: &mut Vec<u8>) {
        let mut fields = Fields::<JSON> { out };
        if JSON {
            fields.put(b"{\"time\":\"");
            fields.put(stamp.at(self.began));
            fields.put(b"\"");
            fields.word(key!("method"), self.method);
            fields.text(key!("path"), self.path.as_bytes(), PATH_BYTES_MAX);
            fields.word(key!("protocol"), self.protocol);
            fields.whole(key!("status"), self.status.into());
            fields.word(key!("flags"), self.flags);
            fields.word(key!("details"), self.details);
        } else {
            self.write_head(stamp, fields.out);
        }
        self.write_numbers(&mut fields);
        self.write_place(&mut fields);
        self.write_names(&mut fields);
        fields.put(if JSON { b"}\n" } else { b"\n" });
    }

    /// What stands in front in text, as Envoy has it by default.
    fn write_head(&self, stamp: &mut Stamp, out: &mut Vec<u8>) {
        out.push(b'[');
        out.extend_from_slice(stamp.at(self.began));
        out.extend_from_slice(b"] \"");
        escape::bare(out, self.method.as_bytes(), TEXT_BYTES_MAX);
        out.push(b' ');
        escape::bare(out, self.path.as_bytes(), PATH_BYTES_MAX);
        for part in [" ", self.protocol, "\" "] {
            out.extend_from_slice(part.as_bytes());
        }
        push_whole(out, self.status.into());
        for part in [" ", self.flags, " ", self.details] {
            out.extend_from_slice(part.as_bytes());
        }
    }

    fn write_numbers<const JSON: bool>(&self, fields: &mut Fields<'_, JSON>) {
        fields.whole(key!("bytes_received"), self.received);
        fields.whole(key!("bytes_sent"), self.sent);
        fields.millis(key!("total_ms"), Some(self.total));
        fields.millis(key!("decide_ms"), self.decide);
        fields.millis(key!("queue_ms"), self.queue);
        fields.millis(key!("connect_ms"), self.connect);
        fields.millis(key!("upstream_ms"), self.upstream);
        fields.whole(key!("attempts"), self.attempts as u64);
        if self.hedged {
            fields.key(key!("hedged"));
            fields.put(b"true");
        }
    }

    fn write_place<const JSON: bool>(&self, fields: &mut Fields<'_, JSON>) {
        fields.known(key!("function"), self.function);
        fields.known(key!("architecture"), self.architecture);
        fields.word(key!("node"), self.node);
        fields.known(key!("target"), self.target);
        fields.known(key!("role"), self.role);
        fields.known(key!("reason"), self.reason);
        fields.whole(key!("hop"), self.hop.into());
    }

    fn write_names<const JSON: bool>(&self, fields: &mut Fields<'_, JSON>) {
        let (address, port) = self.client;
        fields.key(key!("client"));
        fields.quote();
        if address.contains(&b':') {
            fields.put(b"[");
            fields.put(address);
            fields.put(b"]:");
        } else {
            fields.put(address);
            fields.put(b":");
        }
        push_whole(fields.out, port.into());
        fields.quote();
        fields.texts(key!("user_agent"), self.agent);
        fields.texts(key!("request_id"), self.request_id);
        fields.texts(key!("call_id"), self.call_id);
        if let Some(id) = self.trace_id {
            // Hexadecimal digits, which need no look.
            fields.key(key!("trace_id"));
            fields.put(b"\"");
            fields.put(id);
            fields.put(b"\"");
        }
    }
}

/// Keys and values, as JSON or as text. All is inlined, since what is known when this is compiled is
/// then written without a call.
struct Fields<'a, const JSON: bool> {
    out: &'a mut Vec<u8>,
}

impl<const JSON: bool> Fields<'_, JSON> {
    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    #[inline(always)]
    fn key(&mut self, (json, text): Key) {
        self.put(if JSON { json } else { text }.as_bytes());
    }

    #[inline(always)]
    fn quote(&mut self) {
        if JSON {
            self.out.push(b'"');
        }
    }

    /// A word of ours, a method, or a name of a node or a function: nothing in it can end a value.
    #[inline(always)]
    fn word(&mut self, key: Key, word: &str) {
        self.key(key);
        self.quote();
        self.put(word.as_bytes());
        self.quote();
    }

    /// A word, where there is one.
    #[inline(always)]
    fn known(&mut self, key: Key, word: Option<&str>) {
        if let Some(word) = word {
            self.word(key, word);
        }
    }

    #[inline(always)]
    fn text(&mut self, key: Key, text: &[u8], bytes_max: usize) {
        self.key(key);
        let write = if JSON { escape::json } else { escape::text };
        write(self.out, text, bytes_max);
    }

    /// A text, where there is one.
    #[inline(always)]
    fn texts(&mut self, key: Key, text: Option<&[u8]>) {
        if let Some(text) = text {
            self.text(key, text, TEXT_BYTES_MAX);
        }
    }

    #[inline(always)]
    fn whole(&mut self, key: Key, number: u64) {
        self.key(key);
        push_whole(self.out, number);
    }

    /// Milliseconds to the microsecond.
    #[inline(always)]
    fn millis(&mut self, key: Key, took: Option<Duration>) {
        if let Some(took) = took {
            self.key(key);
            push_millis(self.out, took);
        }
    }
}

fn push_millis(out: &mut Vec<u8>, took: Duration) {
    let micros = took.as_secs().saturating_mul(1_000_000) + u64::from(took.subsec_micros());
    push_whole(out, micros / 1000);
    let mut rest = *b".000";
    put(&mut rest[1..], (micros % 1000) as u32);
    out.extend_from_slice(&rest);
}

fn push_whole(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes `number` to `digits`, all of them.
fn put(digits: &mut [u8], mut number: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

impl Stamp {
    pub(super) fn new() -> Self {
        Self { second: None, text: *TIME }
    }

    /// The text of `time`.
    fn at(&mut self, time: SystemTime) -> &[u8; TIME.len()] {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs();
        if self.second != Some(second) {
            self.second = Some(second);
            put_second(&mut self.text, second);
        }
        put(&mut self.text[20..23], since.subsec_millis());
        &self.text
    }
}

/// Writes to `text` all of the time that is `second` seconds after 1970 but its milliseconds.
fn put_second(text: &mut [u8; TIME.len()], second: u64) {
    let (year, month, day) = date(second / 86_400);
    let second = (second % 86_400) as u32;
    put(&mut text[..4], year);
    put(&mut text[5..7], month);
    put(&mut text[8..10], day);
    put(&mut text[11..13], second / 3600);
    put(&mut text[14..16], second / 60 % 60);
    put(&mut text[17..19], second % 60);
}

/// Year, month and day of the day that is `days` after 1970-01-01, by the Gregorian calendar.
fn date(days: u64) -> (u32, u32, u32) {
    // Years are counted from March, so that the leap day is their last; 400 of them repeat.
    const DAYS_TO_1970: u64 = 719_468;
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let days = days.saturating_add(DAYS_TO_1970);
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, after) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    ((era * 400 + year + after) as u32, month as u32, day as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line<'static> {
        Line {
            began: UNIX_EPOCH + Duration::from_millis(1_709_210_096_007),
            method: "POST",
            path: "/function/echo",
            protocol: "HTTP/1.1",
            status: 200,
            flags: "-",
            details: "via_upstream",
            received: 5,
            sent: 12,
            total: Duration::from_micros(3214),
            decide: Some(Duration::from_micros(12)),
            queue: None,
            connect: None,
            upstream: Some(Duration::from_micros(3000)),
            attempts: 1,
            hedged: false,
            function: Some("echo"),
            architecture: Some("decentralized"),
            reason: Some("room"),
            node: "edge1",
            target: Some("edge1"),
            role: Some("local"),
            hop: 0,
            client: (b"127.0.0.1", 4242),
            agent: Some(b"curl/8"),
            request_id: None,
            call_id: Some(b"0b9a"),
            trace_id: None,
        }
    }

    fn written(line: &Line<'_>, format: LogFormat) -> String {
        let mut out = Vec::new();
        line.write(format, &mut Stamp::new(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_says_all_that_is_known() {
        assert_eq!(
            written(&line(), LogFormat::Json),
            concat!(
                r#"{"time":"2024-02-29T12:34:56.007Z","method":"POST","path":"/function/echo","#,
                r#""protocol":"HTTP/1.1","status":200,"flags":"-","details":"via_upstream","#,
                r#""bytes_received":5,"bytes_sent":12,"total_ms":3.214,"decide_ms":0.012,"#,
                r#""upstream_ms":3.000,"attempts":1,"function":"echo","#,
                r#""architecture":"decentralized","node":"edge1","target":"edge1","role":"local","#,
                r#""reason":"room","hop":0,"client":"127.0.0.1:4242","user_agent":"curl/8","#,
                r#""call_id":"0b9a"}"#,
                "\n"
            )
        );
        assert_eq!(
            written(&line(), LogFormat::Text),
            concat!(
                r#"[2024-02-29T12:34:56.007Z] "POST /function/echo HTTP/1.1" 200 - via_upstream"#,
                " bytes_received=5 bytes_sent=12 total_ms=3.214 decide_ms=0.012 upstream_ms=3.000",
                " attempts=1 function=echo architecture=decentralized node=edge1 target=edge1",
                " role=local reason=room hop=0 client=127.0.0.1:4242",
                " user_agent=\"curl/8\" call_id=\"0b9a\"\n"
            )
        );
    }

    #[test]
    fn whatever_a_client_sends_stays_where_it_belongs() {
        let path = "/\" 200 - x\n[2024] \"GET /".to_owned() + &"p".repeat(2000);
        let hostile = Line {
            path: &path,
            client: (b"::1", 1),
            agent: Some(b"\xff\r\n{\"status\":200}"),
            call_id: Some(&[b'"'; 1000]),
            hedged: true,
            ..line()
        };
        let json = written(&hostile, LogFormat::Json);
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&read["status"], &read["hedged"]), (&200.into(), &true.into()));
        assert_eq!(read["user_agent"], "\u{fffd}\r\n{\"status\":200}");
        assert!(read["path"].as_str().is_some_and(|read| path.starts_with(&read[..1000])));
        for line in [json, written(&hostile, LogFormat::Text)] {
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(line.len() < 8 * 1024, "{}", line.len());
        }
    }

    #[test]
    fn days_have_their_dates() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (10_956, (1999, 12, 31)),
            (11_016, (2000, 2, 29)),
            (19_782, (2024, 2, 29)),
            (20_782, (2026, 11, 25)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(days), expected, "{days}");
        }
    }
}
