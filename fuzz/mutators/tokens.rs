//! JSON and TorchScript's source as tokens: what is changed has its brackets still.

use std::ops::Range;

use super::Random;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Number,
    Word,
    Text,
    /// A bracket, a comma and the like.
    Mark,
    Space,
}

type Token<'a> = (Kind, &'a str);

fn split(mut rest: &str) -> Vec<Token<'_>> {
    let mut all = vec![];
    while let Some(first) = rest.chars().next() {
        let run = |f: &dyn Fn(char) -> bool| rest.find(|c| !f(c)).unwrap_or(rest.len());
        let (kind, length) = match first {
            '"' => (Kind::Text, text(rest)),
            '0'..='9' => (Kind::Number, run(&|c| c.is_ascii_alphanumeric() || c == '.')),
            '-' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                (Kind::Number, 1 + rest[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len() - 1))
            }
            c if c.is_alphabetic() || c == '_' => (Kind::Word, run(&|c| c.is_alphanumeric() || c == '_')),
            c if c.is_whitespace() => (Kind::Space, run(&|c| c.is_whitespace())),
            c => (Kind::Mark, c.len_utf8()),
        };
        all.push((kind, &rest[..length]));
        rest = &rest[length..];
    }
    all
}

/// Bytes of the text in quotes at the start.
fn text(rest: &str) -> usize {
    let mut escaped = false;
    let end = rest.bytes().enumerate().skip(1).find(|(_, b)| {
        let ends = *b == b'"' && !escaped;
        escaped = *b == b'\\' && !escaped;
        ends
    });
    end.map_or(rest.len(), |(at, _)| at + 1)
}

/// A text with one change. `ops` are names of ops: `aten::relu`.
pub fn mutate(text: &str, random: &mut Random, ops: &[String]) -> String {
    let tokens = split(text);
    let own = |kind: Kind| -> Vec<usize> { (0..tokens.len()).filter(|i| tokens[*i].0 == kind).collect() };
    let at = |list: &[usize], random: &mut Random| list.get(random.below(list.len())).copied();
    let with = |range: Range<usize>, new: &str| {
        let joined = |t: &[Token<'_>]| t.iter().map(|t| t.1).collect::<String>();
        format!("{}{new}{}", joined(&tokens[..range.start]), joined(&tokens[range.end..]))
    };
    let of = |range: Range<usize>| tokens[range].iter().map(|t| t.1).collect::<String>();
    match random.below(12) {
        // Numbers.
        0..=2 => {
            let Some(i) = at(&own(Kind::Number), random) else { return text.into() };
            let new = match random.below(8) {
                0 => random.pick(&["0.0", "-1.5", "1e300", "1e-300", "Infinity", "NaN", "0.5", "inf"]).to_string(),
                1 => tokens[at(&own(Kind::Number), random).unwrap_or(i)].1.to_string(),
                _ => random.number().to_string(),
            };
            with(i..i + 1, &new)
        }
        // Names and texts, by others of the file; keys of JSON by keys.
        3 | 4 => {
            let kind = if random.below(2) == 0 { Kind::Word } else { Kind::Text };
            let Some(i) = at(&own(kind), random) else { return text.into() };
            let key = |i: usize| tokens.get(i + 1).is_some_and(|t| t.1 == ":");
            let like: Vec<usize> = own(kind).into_iter().filter(|j| key(*j) == key(i)).collect();
            let Some(j) = at(&like, random) else { return text.into() };
            with(i..i + 1, tokens[j].1)
        }
        // Ops.
        5 | 6 => op(&tokens, random, ops).map_or(text.into(), |(i, new)| with(i..i + 1, &new)),
        // A group in brackets: another in its place, twice, or none.
        7..=9 => {
            let opening: Vec<usize> = (0..tokens.len()).filter(|i| matches!(tokens[*i].1, "(" | "[" | "{")).collect();
            // Small ones are more often chosen than those around them, since there are more.
            let Some(i) = at(&opening, random) else { return text.into() };
            let group = i..close(&tokens, i);
            let followed = tokens.get(group.end).is_some_and(|t| t.1 == ",");
            match random.below(4) {
                0 => with(group.start..group.end + usize::from(followed), ""),
                1 => with(group.clone(), &format!("{0}, {0}", of(group))),
                _ => {
                    let like: Vec<usize> = opening.into_iter().filter(|j| tokens[*j].1 == tokens[i].1).collect();
                    let Some(j) = at(&like, random) else { return text.into() };
                    with(group, &of(j..close(&tokens, j)))
                }
            }
        }
        // Lines.
        10 if text.lines().count() > 3 => {
            let mut lines: Vec<&str> = text.lines().collect();
            let (i, j) = (random.below(lines.len()), random.below(lines.len()));
            match random.below(3) {
                0 => lines.swap(i, j),
                1 => drop(lines.remove(i)),
                _ => lines.insert(j, lines[i]),
            }
            lines.join("\n") + "\n"
        }
        // What is between two commas.
        _ => {
            let commas: Vec<usize> = (0..tokens.len()).filter(|i| tokens[*i].1 == ",").collect();
            let Some(i) = at(&commas, random) else { return text.into() };
            let end = tokens[i + 1..].iter().position(|t| matches!(t.1, "," | ")" | "]" | "}" | "\n"));
            let part = i..end.map_or(tokens.len(), |n| i + 1 + n);
            let new = match random.below(4) {
                0 => String::new(),
                1 => of(part.clone()).repeat(2),
                2 => format!(", {}", random.number()),
                _ => format!(", {}", random.pick(&["None", "True", "False", "null", "[]", "inf", "\"x\""])),
            };
            with(part, &new)
        }
    }
}

/// Behind the bracket that closes one.
fn close(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0usize;
    for (i, (_, text)) in tokens.iter().enumerate().skip(open) {
        match *text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    tokens.len()
}

/// A token that names an op, with another op's name.
fn op(tokens: &[Token<'_>], random: &mut Random, ops: &[String]) -> Option<(usize, String)> {
    let named = |i: usize| match tokens[i] {
        (Kind::Text, text) => text.starts_with("\"torch.ops.") || text.starts_with("\"_operator."),
        (Kind::Word, _) => {
            i >= 2
                && tokens[i - 1].1 == "."
                && matches!(tokens[i - 2].1, "torch" | "aten" | "prim")
                && tokens.get(i + 1).is_some_and(|t| t.1 == "(")
        }
        _ => false,
    };
    let found: Vec<usize> = (0..tokens.len()).filter(|i| named(*i)).collect();
    let i = *found.get(random.below(found.len()))?;
    let (space, name) = ops.get(random.below(ops.len()))?.split_once("::")?;
    Some(match tokens[i].0 {
        Kind::Word => (i, name.to_string()),
        _ if space == "_operator" => (i, format!("\"_operator.{name}\"")),
        _ => {
            // The overload may stay.
            let old = tokens[i].1.trim_matches('"').rsplit('.').next().unwrap_or("default");
            let overload = if random.below(2) == 0 { old } else { random.pick(&["default", "Tensor", "Scalar", "dim"]) };
            (i, format!("\"torch.ops.{space}.{name}.{overload}\""))
        }
    })
}
