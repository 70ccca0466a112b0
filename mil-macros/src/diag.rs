//! Problems: collected, so that all of them are told at once, each at its place.

use std::{collections::HashSet, fmt};

use proc_macro2::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};
use quote::ToTokens;

/// A stretch of source. Two spans, because stable Rust cannot join them; rustc does when it prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    start: Span,
    end: Span,
}

impl Place {
    /// All of these tokens.
    pub(crate) fn of(tokens: &(impl ToTokens + ?Sized)) -> Place {
        let mut all = tokens.to_token_stream().into_iter();
        let Some(first) = all.next() else { return Place::at(Span::call_site()) };
        let end = all.last().map_or_else(|| first.span(), |last| last.span());
        Place { start: first.span(), end }
    }

    /// One token.
    pub(crate) fn at(span: Span) -> Place {
        Place { start: span, end: span }
    }
}

/// The problems found so far.
#[derive(Default, Debug)]
pub(crate) struct Diagnostics {
    found: Vec<(Place, String)>,
    /// An unrolled loop and an inlined helper meet the same problem many times; it is told once.
    told: HashSet<String>,
}

impl Diagnostics {
    /// Adds a problem.
    pub(crate) fn error(&mut self, place: Place, message: impl fmt::Display) {
        let message = message.to_string();
        let first_line = message.lines().next().unwrap_or_default();
        if self.told.insert(format!("{:?}{:?}{first_line}", place.start, place.end)) {
            self.found.push((place, message));
        }
    }

    /// Adds what `syn` found.
    pub(crate) fn syntax(&mut self, error: syn::Error) {
        for e in error {
            self.error(Place::at(e.span()), e);
        }
    }

    /// For the next program: what is told by now is not told again.
    pub(crate) fn next(&self) -> Diagnostics {
        Diagnostics { found: vec![], told: self.told.clone() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn count(&self) -> usize {
        self.found.len()
    }

    /// The messages, for tests.
    #[cfg(test)]
    pub(crate) fn messages(&self) -> Vec<String> {
        self.found.iter().map(|(_, m)| m.clone()).collect()
    }

    /// One `compile_error!` each.
    pub(crate) fn tokens(&self) -> TokenStream {
        self.found.iter().flat_map(|(place, message)| compile_error(*place, message)).collect()
    }
}

/// `::core::compile_error! { "message" }`: rustc underlines from the span of its first token to that of its last.
fn compile_error(place: Place, message: &str) -> Vec<TokenTree> {
    let punct = |c, spacing| {
        let mut p = Punct::new(c, spacing);
        p.set_span(place.start);
        TokenTree::Punct(p)
    };
    let ident = |name| TokenTree::Ident(Ident::new(name, place.start));
    let mut text = Literal::string(message);
    text.set_span(place.end);
    let mut group = Group::new(Delimiter::Brace, TokenTree::Literal(text).into());
    group.set_span(place.end);
    vec![
        punct(':', Spacing::Joint),
        punct(':', Spacing::Alone),
        ident("core"),
        punct(':', Spacing::Joint),
        punct(':', Spacing::Alone),
        ident("compile_error"),
        punct('!', Spacing::Alone),
        TokenTree::Group(group),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_problem_is_told_once() {
        let mut d = Diagnostics::default();
        let place = Place::of(&quote::quote!(a + b));
        d.error(place, "one");
        d.error(place, "one\nwith another note");
        d.error(place, "two");
        assert_eq!(d.messages(), ["one", "two"]);
        assert_eq!(d.tokens().to_string().matches("compile_error").count(), 2);
    }
}
