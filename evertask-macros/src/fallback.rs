//! What is left behind beside errors about the fn itself: enough for the rest of the program to compile, so that one
//! mistake is not forty errors.

use proc_macro2::TokenStream;
use quote::{ToTokens as _, format_ident, quote};
use syn::{FnArg, Pat, Path, ext::IdentExt as _};

use crate::{
    expand::{new_options, payload_docs},
    parse::ItemFn,
};

/// The fn as it came, and a handle whose `new` and `dispatch` take what the fn takes.
///
/// What the fn returns is not known to make sense, so the handle's output is `()`.
pub(crate) fn expand(item: &ItemFn, p: &Path) -> TokenStream {
    if item.is_method() {
        return item.to_token_stream();
    }
    let ItemFn { vis, sig, .. } = item;
    let ident = &sig.ident;
    let cfgs: Vec<_> = item.cfgs().collect();
    let docs = payload_docs(item, None);
    let serde = quote!(#p::serde).to_string();
    let options = new_options(&ident.unraw().to_string(), p);
    let (generics, _, clause) = sig.generics.split_for_impl();
    let generics = sig.generics.lt_token.map(|_| quote!(#generics));
    let params: Vec<_> = sig.inputs.iter().enumerate().filter_map(param).collect();
    quote! {
        #item

        #(#cfgs)*
        #docs
        #[allow(non_camel_case_types)]
        #[derive(#p::serde::Serialize, #p::serde::Deserialize)]
        #[serde(crate = #serde)]
        #vis struct #ident {}

        #(#cfgs)*
        #[allow(warnings)]
        impl #ident {
            /// The payload.
            #vis fn new #generics(#(#params),*) -> Self #clause { loop {} }

            /// Stores a task.
            #vis fn dispatch #generics(#(#params),*) -> #p::Dispatch<Self> #clause { loop {} }
        }

        #(#cfgs)*
        impl #p::Handler for #ident {
            type Output = ();

            const OPTIONS: #p::HandlerOptions = #options;

            async fn call(self, _: #p::Context) -> #p::Result<(), #p::Failure> {
                #p::Ok(())
            }
        }
    }
}

/// A parameter of the handle: those that are stored or might be.
fn param((n, param): (usize, &FnArg)) -> Option<TokenStream> {
    let FnArg::Typed(param) = param else { return None };
    let ty = &*param.ty;
    let name = match &*param.pat {
        Pat::Ident(pat) => pat.ident.clone(),
        Pat::TupleStruct(pat) if pat.path.segments.last()?.ident == "State" => return None,
        _ => format_ident!("argument_{n}"),
    };
    match crate::model::is_stored(ty) {
        true => Some(quote!(#name: #ty)),
        false => None,
    }
}
