//! From the model's names and texts to Rust's.

/// Longest doc comment taken over from a model (characters).
const DOC_CHARACTERS_MAX: usize = 160;

const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn", "else", "enum",
    "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod", "move",
    "mut", "override", "priv", "pub", "ref", "return", "static", "struct", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// `KMSKeyArn` → `kms_key_arn`; keywords are escaped.
pub(super) fn field(name: &str) -> String {
    let snake = snake(name);
    if KEYWORDS.contains(&snake.as_str()) { format!("r#{snake}") } else { snake }
}

/// `CreateFunction` → `CREATE_FUNCTION`.
pub(super) fn constant(name: &str) -> String {
    snake(name).to_uppercase()
}

fn snake(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::with_capacity(name.len() + 8);
    for (at, &c) in chars.iter().enumerate() {
        if !c.is_ascii_alphanumeric() {
            out.push('_');
            continue;
        }
        if c.is_ascii_uppercase() && at > 0 {
            let before = chars[at - 1];
            let word_ends = before.is_ascii_lowercase() || before.is_ascii_digit();
            let capitals_end = before.is_ascii_uppercase() && chars.get(at + 1).is_some_and(char::is_ascii_lowercase);
            if word_ends || capitals_end {
                out.push('_');
            }
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// `statusType` → `StatusType`.
pub(super) fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

/// `PER_TENANT` → `PerTenant`, `python3.13` → `Python3_13`, `nodejs22.x` → `Nodejs22X`.
pub(super) fn variant(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for word in value.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        let digits_meet = out.ends_with(|c: char| c.is_ascii_digit()) && word.starts_with(|c: char| c.is_ascii_digit());
        if digits_meet {
            out.push('_');
        }
        let shouted = word.len() > 1 && !word.contains(|c: char| c.is_ascii_lowercase());
        let mut chars = word.chars();
        out.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        match shouted {
            true => out.extend(chars.map(|c| c.to_ascii_lowercase())),
            false => out.extend(chars),
        }
    }
    if out.is_empty() || out.starts_with(|c: char| c.is_ascii_digit()) { format!("V{out}") } else { out }
}

/// The first sentence of a model's HTML documentation as plain text, or `otherwise`.
pub(super) fn doc(html: &str, otherwise: &str) -> String {
    let plain = plain_text(html);
    let sentence = match plain.find(". ") {
        Some(end) => &plain[..=end],
        None => plain.as_str(),
    };
    let sentence = if sentence.is_empty() { otherwise } else { sentence };
    let mut out = String::with_capacity(sentence.len());
    for (count, c) in sentence.chars().enumerate() {
        if count == DOC_CHARACTERS_MAX {
            let whole_words = out.rfind(' ').unwrap_or(out.len());
            out.truncate(whole_words);
            out.push('…');
            break;
        }
        if matches!(c, '[' | ']' | '<' | '>' | '*' | '_' | '`' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn plain_text(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut in_tag = false;
    for c in html.chars() {
        match c {
            '<' => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                text.push(' ');
            }
            _ if in_tag => {}
            _ => text.push(c),
        }
    }
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    joined.replace(" .", ".").replace(" ,", ",").replace(" )", ")").replace("( ", "(")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_rust_names() {
        for (model, rust) in [("FunctionName", "function_name"), ("KMSKeyArn", "kms_key_arn"), ("Type", "r#type")] {
            assert_eq!(field(model), rust);
        }
        for (model, rust) in [("PER_TENANT", "PerTenant"), ("python3.13", "Python3_13"), ("x86_64", "X86_64")] {
            assert_eq!(variant(model), rust);
        }
        assert_eq!(variant("nodejs22.x"), "Nodejs22X");
        assert_eq!(variant("10"), "V10");
    }

    #[test]
    fn documentation_is_cut_to_one_plain_sentence() {
        let html = "<p>The <code>x</code> of it, see <a href=\"u\">there</a>. More [text].</p>";
        assert_eq!(doc(html, "-"), "The x of it, see there.");
        assert_eq!(doc("", "The name"), "The name");
        assert!(doc(&"word ".repeat(100), "").ends_with('…'));
    }
}
