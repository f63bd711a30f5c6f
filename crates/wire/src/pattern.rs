//! The models' regular expressions are Java's; this writes them in the dialect of the `regex` crate.

use regex::Regex;

/// The largest compiled program (bytes): models hold repetitions such as `{1,1024}` of Unicode classes.
const COMPILED_BYTES_MAX: usize = 8 << 20;

/// Parts with look-around, and the same without. They stand at the end of their patterns, so `$` is the text's end.
const EQUIVALENTS: &[(&str, &str)] = &[
    // An alias: not only digits.
    (r"(?!\d+$)[0-9a-zA-Z-_]+", r"[0-9a-zA-Z-_]*[a-zA-Z-_][0-9a-zA-Z-_]*"),
    (r"(?!^\d+$)^[0-9a-zA-Z-_]+$", r"[0-9a-zA-Z-_]*[a-zA-Z-_][0-9a-zA-Z-_]*"),
    (r"(?!^[0-9]+$)([a-zA-Z0-9-_]+)", r"([0-9a-zA-Z-_]*[a-zA-Z-_][0-9a-zA-Z-_]*)"),
    // A bucket: no dot at the end.
    (r"[0-9A-Za-z\.\-_]*(?<!\.)", r"([0-9A-Za-z\.\-_]*[0-9A-Za-z\-_])?"),
];

/// Compiles a Java pattern that must match the whole text; `None` when it cannot be expressed (look-around, back-references).
pub(crate) fn compile(java: &str) -> Option<Regex> {
    let plain = EQUIVALENTS.iter().fold(java.to_owned(), |text, (with, without)| text.replace(with, without));
    let anchored = format!(r"\A(?:{})\z", translate(&plain));
    regex::RegexBuilder::new(&anchored).size_limit(COMPILED_BYTES_MAX).build().ok()
}

/// Java's `\d`, `\w` and `\s` are ASCII, ours would be Unicode; a `[` inside a class and the operators
/// `--` and `~~` are plain characters in Java.
fn translate(java: &str) -> String {
    let mut out = String::with_capacity(java.len() + 16);
    let mut in_class = false;
    let mut chars = java.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped) => push_escape(&mut out, escaped, in_class),
                None => out.push_str(r"\\"),
            },
            '[' if in_class => out.push_str(r"\["),
            '[' => {
                in_class = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                // A bracket in first place is a member of the class.
                if chars.next_if_eq(&']').is_some() {
                    out.push_str(r"\]");
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '-' | '~' if in_class && chars.peek() == Some(&c) => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

fn push_escape(out: &mut String, escaped: char, in_class: bool) {
    let (inner, negated) = match escaped {
        'd' => ("0-9", false),
        'w' => ("0-9A-Za-z_", false),
        's' => (r" \t\n\x0B\f\r", false),
        'D' => ("0-9", true),
        'W' => ("0-9A-Za-z_", true),
        'S' => (r" \t\n\x0B\f\r", true),
        _ => {
            out.push('\\');
            out.push(escaped);
            return;
        }
    };
    match (in_class, negated) {
        (true, false) => out.push_str(inner),
        (false, false) => out.push_str(&format!("[{inner}]")),
        (_, true) => out.push_str(&format!("[^{inner}]")),
    }
}

#[cfg(test)]
mod tests {
    use super::compile;

    fn check(java: &str, matching: &[&str], other: &[&str]) {
        let regex = compile(java).unwrap_or_else(|| panic!("{java} compiles"));
        for text in matching {
            assert!(regex.is_match(text), "{java} should match {text:?}");
        }
        for text in other {
            assert!(!regex.is_match(text), "{java} should not match {text:?}");
        }
    }

    #[test]
    fn patterns_match_the_whole_text() {
        check("a|b", &["a", "b"], &["ab", "xa", "a\n", ""]);
        check("[a-zA-Z0-9-_]+", &["a-b_c"], &["a b"]);
    }

    #[test]
    fn classes_are_ascii_as_in_java() {
        check(r"\d{2}", &["12"], &["१२", "1"]);
        check(r"[\w#]+", &["a_1#"], &["é"]);
        check(r"[^\s]+", &["x"], &[" "]);
        check(r"\S+", &["é"], &["a b"]);
    }

    #[test]
    fn brackets_and_dashes_inside_a_class_are_plain() {
        check(r"[[a]+", &["[a"], &["b"]);
        check(r"[a--]+", &["a-"], &["b"]);
        check(r"[]a]+", &["]a"], &["b"]);
    }

    #[test]
    fn known_look_around_has_an_equivalent() {
        check(r"(:((?!\d+$)[0-9a-zA-Z-_]+))?", &["", ":a", ":1a", ":a1", ":1-2"], &[":", ":12", ":a b"]);
        check(r"(?!^[0-9]+$)([a-zA-Z0-9-_]+)", &["a", "1a1"], &["1", ""]);
        check(r"((?!^\d+$)^[0-9a-zA-Z-_]+$)", &["a", "1a1"], &["1", ""]);
        check(r"[0-9A-Za-z\.\-_]*(?<!\.)", &["", "a", "a.b"], &["a.", "."]);
    }

    #[test]
    fn look_around_cannot_be_expressed() {
        assert!(compile("(?!aws).*").is_none());
    }
}
