struct Tenant;

#[evertask::handler]
async fn send(#[extract] tenant: Tenant) {
    drop(tenant);
}

fn main() {}
