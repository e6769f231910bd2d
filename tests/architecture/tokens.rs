//! Just enough of Rust's lexis to read paths, calls and braces: comments and literals are skipped.

/// A word or a punctuation character, and its one-based line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// A path as written or as a `use` tree spells it out, and its line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

/// The tokens of `source`.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let end = token_end(&chars, at);
        let text: String = chars[at..end].iter().collect();
        let first = chars[at];
        if !first.is_whitespace() && (is_word(first) || end == at + 1) && !is_literal(&text) {
            tokens.push(Token { text: text.trim_start_matches("r#").into(), line });
        }
        line += text.matches('\n').count();
        at = end;
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_literal(text: &str) -> bool {
    text.ends_with('"') || text.ends_with('\'') || (text.len() > 1 && text.ends_with('#'))
}

/// Where the token, comment, literal or blank that begins at `at` ends.
fn token_end(chars: &[char], at: usize) -> usize {
    let next = |i: usize| chars.get(at + i).copied().unwrap_or('\0');
    let find = |from: usize, end: &dyn Fn(usize) -> bool| {
        (from..chars.len()).find(|&i| end(i)).unwrap_or(chars.len())
    };
    match (next(0), next(1)) {
        ('/', '/') => find(at, &|i| chars[i] == '\n'),
        ('/', '*') => block_comment_end(chars, at),
        ('"', _) => string_end(chars, at),
        ('b', '"') | ('c', '"') => string_end(chars, at + 1),
        ('r', '"') | ('r', '#') if raw_hashes(chars, at + 1).is_some() => {
            raw_end(chars, at + 1, raw_hashes(chars, at + 1).unwrap_or(0))
        }
        ('\'', '\\') => find(at + 3, &|i| chars[i] == '\'') + 1,
        ('\'', _) if next(2) == '\'' => at + 3,
        // A lifetime.
        ('\'', _) => find(at + 1, &|i| !is_word(chars[i])),
        (c, _) if is_word(c) => find(at, &|i| !is_word(chars[i])),
        _ => at + 1,
    }
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], at: usize) -> usize {
    let mut i = at + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// How many `#` stand before the quote of a raw string, if it is one.
fn raw_hashes(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at..].iter().take_while(|&&c| c == '#').count();
    (chars.get(at + hashes) == Some(&'"')).then_some(hashes)
}

fn raw_end(chars: &[char], at: usize, hashes: usize) -> usize {
    let closes = |i: usize| {
        chars[i] == '"' && chars[i + 1..].iter().take_while(|&&c| c == '#').count() >= hashes
    };
    let quote = (at + hashes + 1..chars.len()).find(|&i| closes(i));
    quote.map_or(chars.len(), |i| i + 1 + hashes)
}

/// `tokens` without the items that `#[cfg(test)]` stands before.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if matches(tokens, at, &["#", "[", "cfg", "(", "test", ")", "]"]) {
            at = item_end(tokens, at + 7);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Just after the `;` or the closing brace that ends the item at `from`.
fn item_end(tokens: &[Token], from: usize) -> usize {
    let end = (from..tokens.len()).find(|&i| matches!(&*tokens[i].text, ";" | "{"));
    end.map_or(tokens.len(), |i| if tokens[i].text == "{" { block_end(tokens, i) } else { i + 1 })
}

/// Just after the brace that closes the one at `open`.
pub(crate) fn block_end(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match &*token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    tokens.len()
}

/// Whether the texts of the tokens from `at` on are `texts`.
pub(crate) fn matches(tokens: &[Token], at: usize, texts: &[&str]) -> bool {
    texts.iter().enumerate().all(|(i, text)| tokens.get(at + i).is_some_and(|t| t.text == *text))
}

/// Every path in `tokens`, those of `use` trees spelled out.
pub(crate) fn paths(tokens: &[Token]) -> Vec<Path> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].text.starts_with(is_word) {
            at = read_tree(tokens, at, &[], &mut paths);
        } else {
            at += 1;
        }
    }
    paths
}

/// Reads the path or `use` tree at `at`, which stands below `prefix`; answers where it ends.
fn read_tree(tokens: &[Token], at: usize, prefix: &[String], paths: &mut Vec<Path>) -> usize {
    let line = tokens.get(at).map_or(0, |token| token.line);
    let mut segments = prefix.to_vec();
    let mut i = at;
    while let Some(token) = tokens.get(i) {
        if token.text == "{" && i > at {
            return read_group(tokens, i, &segments, paths);
        }
        if !(token.text.starts_with(is_word) || token.text == "*") {
            break;
        }
        segments.push(token.text.clone());
        i += 1;
        if !matches(tokens, i, &[":", ":"]) {
            break;
        }
        i += 2;
    }
    paths.push(Path { segments, line });
    i.max(at + 1)
}

fn read_group(tokens: &[Token], open: usize, prefix: &[String], paths: &mut Vec<Path>) -> usize {
    let mut i = open + 1;
    while i < tokens.len() && tokens[i].text != "}" {
        i = match &*tokens[i].text {
            "," => i + 1,
            _ => read_tree(tokens, i, prefix, paths),
        };
    }
    i + 1
}
