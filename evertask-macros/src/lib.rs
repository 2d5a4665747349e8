//! The attribute of evertask. It is documented where it is used from: `evertask::handler`.
//!
//! A small compiler in four rooms. `parse` turns tokens into syntax (the fn) and values (the `options`), `model` says
//! what each parameter is, `check` asks whether it all makes sense together, and `expand` writes data and one call and
//! cannot fail. Where something is wrong, every mistake is told at once, under its own token, and what is left behind
//! (`fallback`) is enough for the rest of the program to compile.
//!
//! Nothing here touches the compiler's own token streams, so all of it runs in unit tests.

mod backoff;
mod check;
mod errors;
mod expand;
mod fallback;
mod model;
mod options;
mod parse;
mod suggest;
#[cfg(test)]
mod tests;
mod value;
mod ways;

use proc_macro::TokenStream;

// Its documentation is where it is used from, `evertask::handler`, and can link to what it speaks of there.
#[allow(missing_docs)]
#[proc_macro_attribute]
pub fn handler(options: TokenStream, item: TokenStream) -> TokenStream {
    let expansion = expand::handler(options.into(), item.into());
    if std::env::var_os("EVERTASK_MACROS_DEBUG").is_some() {
        eprintln!("{expansion}");
    }
    expansion.into()
}
