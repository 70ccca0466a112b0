//! Dtype rules by opset.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{
    Ident, Result, Token,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
};

/// Opsets, oldest first, as `mil_core::types::Opset` has them.
pub(crate) const OPSETS: [&str; 5] = ["iOS15", "iOS16", "iOS17", "iOS18", "iOS26"];

pub(crate) fn opset_index(ident: &Ident) -> Result<usize> {
    let found = OPSETS.iter().position(|o| ident == o);
    found.ok_or_else(|| syn::Error::new(ident.span(), format!("expected one of {}", OPSETS.join(", "))))
}

/// `A | B | C`.
pub(crate) struct Alternatives(pub(crate) Vec<Ident>);

impl Parse for Alternatives {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let list = Punctuated::<Ident, Token![|]>::parse_separated_nonempty(input)?;
        Ok(Alternatives(list.into_iter().collect()))
    }
}

/// `T = F16 | F32, iOS17 = F16 | F32 | I8`: a dtype variable and its dtypes, by opset.
pub(crate) struct Domain {
    pub(crate) var: Ident,
    steps: Vec<(usize, Vec<Ident>)>,
}

impl Parse for Domain {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let var: Ident = input.parse()?;
        input.parse::<Token![=]>()?;
        let mut steps = vec![(0, Alternatives::parse(input)?.0)];
        while input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            let opset = opset_index(&input.parse()?)?;
            input.parse::<Token![=]>()?;
            steps.push((opset, Alternatives::parse(input)?.0));
        }
        Ok(Domain { var, steps })
    }
}

impl Domain {
    fn at(&self, opset: usize) -> &[Ident] {
        let step = self.steps.iter().rev().find(|(since, _)| *since <= opset);
        step.map_or(&[], |(_, dtypes)| dtypes)
    }
}

/// `T`, `F16 | F32`, `T, iOS17 = U`: what a field says.
pub(crate) struct Rule {
    steps: Vec<(usize, Vec<Ident>)>,
}

impl Parse for Rule {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut steps = vec![(0, Alternatives::parse(input)?.0)];
        while input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            let opset = opset_index(&input.parse()?)?;
            input.parse::<Token![=]>()?;
            steps.push((opset, Alternatives::parse(input)?.0));
        }
        Ok(Rule { steps })
    }
}

impl Rule {
    /// What holds from which opset on.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (Ident, &Ident)> {
        self.steps.iter().filter_map(|(opset, spec)| Some((ident(OPSETS[*opset]), spec.first()?)))
    }

    /// The `Allowed` entries: one per opset where something changes.
    pub(crate) fn tokens(&self, domains: &[Domain]) -> TokenStream {
        let mut entries: Vec<(usize, Option<String>, Vec<String>)> = vec![];
        for opset in 0..OPSETS.len() {
            let Some((_, spec)) = self.steps.iter().rev().find(|(since, _)| *since <= opset) else { continue };
            let domain = match &spec[..] {
                [one] => domains.iter().find(|d| d.var == *one),
                _ => None,
            };
            let dtypes = domain.map_or(&spec[..], |d| d.at(opset)).iter().map(Ident::to_string).collect();
            let var = domain.map(|d| d.var.to_string());
            if entries.last().is_none_or(|(_, v, d)| *v != var || *d != dtypes) {
                entries.push((opset, var, dtypes));
            }
        }
        let entries = entries.into_iter().map(|(opset, var, dtypes)| {
            let since = ident(OPSETS[opset]);
            let var = var.map_or(quote!(::core::option::Option::None), |v| quote!(::core::option::Option::Some(#v)));
            let dtypes = dtypes.iter().map(|d| ident(d));
            quote!(crate::op::Allowed {
                since: crate::types::Opset::#since, var: #var, dtypes: &[#(crate::types::DType::#dtypes),*],
            })
        });
        quote!(&[#(#entries),*])
    }
}

pub(crate) fn ident(name: &str) -> Ident {
    Ident::new(name, proc_macro2::Span::call_site())
}
