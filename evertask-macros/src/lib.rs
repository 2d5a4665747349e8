//! The attribute of evertask.
use proc_macro::TokenStream;

/// stub
#[proc_macro_attribute]
pub fn handler(_args: TokenStream, item: TokenStream) -> TokenStream {
    item
}
