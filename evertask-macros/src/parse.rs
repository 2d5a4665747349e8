//! The fn under the attribute, as syntax. Its body is never looked into: half-typed code passes through as it is.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{
    Attribute, Error, FnArg, Item, Result, Signature, Visibility,
    parse::{Parse, ParseStream},
};

/// An fn with the marks `#[arg]` and `#[extract]` taken off its parameters.
pub(crate) struct ItemFn {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    /// The body with its braces, or the semicolon of an fn without one.
    pub(crate) body: TokenStream,
    /// The marks, parameter by parameter.
    pub(crate) marks: Vec<Vec<Attribute>>,
}

/// Reads what stands under the attribute.
pub(crate) fn item(tokens: TokenStream) -> Result<ItemFn> {
    syn::parse2(tokens.clone()).map_err(|error| {
        let keyword = match syn::parse2(tokens) {
            Ok(Item::Struct(item)) => item.struct_token.span,
            Ok(Item::Enum(item)) => item.enum_token.span,
            Ok(Item::Impl(item)) => item.impl_token.span,
            Ok(Item::Mod(item)) => item.mod_token.span,
            Ok(Item::Trait(item)) => item.trait_token.span,
            _ => return error,
        };
        Error::new(keyword, "only an async fn can be a handler; its arguments are the payload")
    })
}

impl Parse for ItemFn {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let mut sig: Signature = input.parse()?;
        let marks = sig.inputs.iter_mut().map(take_marks).collect();
        Ok(Self { attrs, vis, sig, body: input.parse()?, marks })
    }
}

/// What the compiler would not take on a parameter: our own, and one that is easily mistaken for ours.
const MARKS: &[&str] = &["arg", "extract", "serde"];

fn take_marks(param: &mut FnArg) -> Vec<Attribute> {
    match param {
        FnArg::Receiver(_) => Vec::new(),
        FnArg::Typed(param) => {
            let is_mark =
                |attr: &mut Attribute| MARKS.iter().any(|mark| attr.path().is_ident(mark));
            param.attrs.extract_if(.., is_mark).collect()
        }
    }
}

impl ItemFn {
    /// Whether it is seen to stand in an `impl` or a trait, where nothing can stand beside it.
    pub(crate) fn is_method(&self) -> bool {
        let takes_self =
            |token: &TokenTree| matches!(token, TokenTree::Ident(ident) if ident == "Self");
        self.sig.receiver().is_some()
            || self.body.to_string() == ";"
            || self.sig.to_token_stream().into_iter().any(|token| takes_self(&token))
    }

    /// The attributes that decide whether the fn is there at all; whatever is generated for it obeys them too.
    pub(crate) fn cfgs(&self) -> impl Iterator<Item = &Attribute> {
        self.attrs.iter().filter(|attr| attr.path().is_ident("cfg"))
    }

    /// The first paragraph of the documentation.
    pub(crate) fn summary(&self) -> impl Iterator<Item = &Attribute> {
        self.attrs
            .iter()
            .filter(|attr| attr.path().is_ident("doc"))
            .take_while(|attr| doc_line(attr).is_some_and(|line| !line.trim().is_empty()))
    }
}

fn doc_line(attr: &Attribute) -> Option<String> {
    let value = &attr.meta.require_name_value().ok()?.value;
    match value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(line), .. }) => Some(line.value()),
        _ => None,
    }
}

impl ToTokens for ItemFn {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { attrs, vis, sig, body, marks: _ } = self;
        tokens.extend(quote!(#(#attrs)* #vis #sig #body));
    }
}
