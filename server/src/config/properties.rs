//! Java's properties format, as `zoo.cfg` is written in it.

/// One `key=value` line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Property {
    /// Key as written, unescaped.
    pub key: String,
    /// Value, unescaped and trimmed.
    pub value: String,
    /// Line on which it begins, from 1.
    pub line: usize,
}

/// Splits a text into its properties, in order. Never fails: what Java accepts is accepted, and a
/// malformed `\u` escape stands for itself.
pub fn parse(text: &str) -> Vec<Property> {
    let mut properties = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, first)) = lines.next() {
        let first = first.trim_start();
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while ends_open(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, more)) => logical.push_str(more.trim_start()),
                None => break,
            }
        }
        let (key, value) = split(&logical);
        let value = unescape(value).trim().to_owned();
        properties.push(Property { key: unescape(key), value, line: number + 1 });
    }
    properties
}

/// The text with the values of those keys hidden that are somebody's secret.
pub fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut hides = false;
    for line in text.lines() {
        let goes_on = hides;
        if !goes_on {
            let (key, _) = split(line.trim_start());
            let key = unescape(key).to_ascii_lowercase();
            hides = key.contains("password") || key.contains("passwd") || key.contains("digest");
            hides &= !key.is_empty() && !line.trim_start().starts_with(['#', '!']);
            shown.push_str(if hides { &key } else { line });
            shown.push_str(if hides { "=***\n" } else { "\n" });
        }
        hides &= ends_open(line);
    }
    shown
}

/// True if the line ends in an odd number of backslashes: it goes on in the next one.
fn ends_open(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Splits at the first unescaped `=`, `:` or white space.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let is_end = !escaped && (c == '=' || c == ':' || c.is_whitespace());
        escaped = c == '\\' && !escaped;
        is_end
    });
    let Some(end) = end else { return (line, "") };
    let rest = line[end..].trim_start();
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&line[..end], rest.trim_start())
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = rest.clone().take(4).collect();
                match u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32) {
                    Some(c) if digits.len() == 4 => {
                        out.push(c);
                        rest.nth(3);
                    }
                    _ => out.push_str("\\u"),
                }
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_java_reads() {
        let table = [
            ("a=b", Some(("a", "b"))),
            ("  a = b  ", Some(("a", "b"))),
            ("a:b", Some(("a", "b"))),
            ("a b c", Some(("a", "b c"))),
            ("a", Some(("a", ""))),
            ("a=", Some(("a", ""))),
            ("a=b=c", Some(("a", "b=c"))),
            ("server.1=h:2888:3888;2181", Some(("server.1", "h:2888:3888;2181"))),
            ("a\\=b=c", Some(("a=b", "c"))),
            ("a=b\\\n   c", Some(("a", "bc"))),
            ("a=b\\\\", Some(("a", "b\\"))),
            ("a=\\u0041\\t.", Some(("a", "A\t."))),
            ("a=\\u00", Some(("a", "\\u00"))),
            ("# a=b", None),
            ("! a=b", None),
            ("", None),
            ("   ", None),
        ];
        for (text, expect) in table {
            let found = parse(text);
            let found = found.first().map(|p| (p.key.as_str(), p.value.as_str()));
            assert_eq!(found, expect, "{text:?}");
        }
    }

    #[test]
    fn secrets_are_hidden_with_what_they_go_on_in() {
        let text = "a=1\n# password=x\nssl.keyStore.password = geheim\\\n  nis\n\\\n\
                    Zookeeper.DigestAuthenticationProvider.superDigest:super:x\nb=2";
        let shown = "a=1\n# password=x\nssl.keystore.password=***\n\\\n\
                     zookeeper.digestauthenticationprovider.superdigest=***\nb=2\n";
        assert_eq!(without_secrets(text), shown);
    }

    #[test]
    fn lines_are_numbered_where_properties_begin() {
        let found = parse("# head\na=1\n\nb=2\\\n3\nc=4");
        let lines: Vec<_> = found.iter().map(|p| (p.key.as_str(), p.line)).collect();
        assert_eq!(lines, [("a", 2), ("b", 4), ("c", 6)]);
    }
}
