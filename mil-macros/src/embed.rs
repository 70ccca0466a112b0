//! The program as bytes inside the binary, and where its weights come from.

use mil_core::ir::Program;
use proc_macro2::TokenStream;
use quote::quote;

use crate::{attr::ProgramAttr, lower::Lowering, weights::EMBED_LIMIT};

/// The encoded program.
///
/// # Errors
/// If it cannot be encoded.
pub(crate) fn to_bytes(program: &Program) -> Result<Vec<u8>, String> {
    mil_core::spec::embed::to_bytes(program).map_err(|e| e.to_string())
}

/// Where the weights come from, as a `mil::__private::Weights`.
pub(crate) fn weights(attr: &ProgramAttr, lowering: &Lowering) -> TokenStream {
    weights_of(attr, lowering).unwrap_or_else(|| quote!(::mil::__private::Embedded::None))
}

/// The same; `None` if the program has no weights of a file.
pub(crate) fn weights_of(attr: &ProgramAttr, lowering: &Lowering) -> Option<TokenStream> {
    let file = lowering.weights.as_ref()?;
    let uses_any = lowering
        .program
        .iter()
        .flat_map(|p| p.functions.values())
        .any(|f| f.walk().into_iter().any(|op| f.op(op).constants().any(|c| c.weight_name().is_some())));
    if !uses_any {
        return None;
    }
    let written = &file.written;
    let path = if file.beside_source {
        let path = file.path.to_string_lossy().into_owned();
        quote!(#path)
    } else {
        quote!(::core::concat!(::core::env!("CARGO_MANIFEST_DIR"), "/", #written))
    };
    Some(if attr.embed.unwrap_or(file.size <= EMBED_LIMIT) {
        // rustc reads the file, and so builds again when it changes.
        let included = if file.beside_source { quote!(#written) } else { path.clone() };
        quote!(::mil::__private::Embedded::Bytes(::core::include_bytes!(#included), #path))
    } else {
        quote!(::mil::__private::Embedded::File(#path))
    })
}
