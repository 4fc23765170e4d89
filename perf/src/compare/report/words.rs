//! Numbers as people read them.

/// What a number counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::compare) enum Unit {
    /// Microseconds.
    Micros,
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Things, or things a second.
    Count,
    /// A few of something, parts of it too.
    Few,
}

impl Unit {
    /// In the unit that suits the size.
    pub(in crate::compare) fn show(self, value: f64) -> String {
        match self {
            Unit::Micros if value >= 1e6 => format!("{} s", digits(value / 1e6)),
            Unit::Micros if value >= 10_000.0 => format!("{} ms", digits(value / 1e3)),
            Unit::Micros => format!("{} us", digits(value)),
            Unit::Millis => format!("{} ms", digits(value)),
            Unit::Seconds => format!("{} s", digits(value)),
            Unit::Bytes if value >= 1e6 => format!("{} MB", digits(value / 1e6)),
            Unit::Bytes if value >= 1e4 => format!("{} KB", digits(value / 1e3)),
            Unit::Bytes => format!("{} B", digits(value)),
            Unit::Count => list(value),
            Unit::Few => digits(value),
        }
    }
}

/// Two or three digits that mean something.
fn digits(value: f64) -> String {
    match value.abs() {
        100.0.. => list(value.round()),
        10.0.. => format!("{value:.0}"),
        1.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Three digits that mean something, and commas between thousands.
pub(in crate::compare) fn list(value: f64) -> String {
    let power = 10_f64.powf((value.abs().max(1.0).log10().floor() - 2.0).max(0.0));
    let whole = ((value / power).round() * power) as i64;
    let text = whole.abs().to_string();
    let mut out = if whole < 0 { "-".to_owned() } else { String::new() };
    for (index, digit) in text.chars().enumerate() {
        if index > 0 && (text.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_say_their_unit() {
        assert_eq!(Unit::Count.show(303_123.0), "303,000");
        assert_eq!(Unit::Count.show(12.0), "12");
        assert_eq!(Unit::Micros.show(1.087), "1.1 us");
        assert_eq!(Unit::Micros.show(1_154.2), "1,150 us");
        assert_eq!(Unit::Micros.show(216_000.0), "216 ms");
        assert_eq!(Unit::Bytes.show(231.4e6), "231 MB");
        assert_eq!(Unit::Bytes.show(880.0), "880 B");
        assert_eq!(Unit::Seconds.show(0.57), "0.57 s");
        assert_eq!(list(1_000_000.0), "1,000,000");
    }
}
