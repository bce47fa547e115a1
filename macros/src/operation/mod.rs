//! `#[operation]`.

use proc_macro2::TokenStream;

pub(crate) fn expand(_options: TokenStream, function: TokenStream) -> TokenStream {
    function
}
