//! Work that blocks, on a thread where it holds nobody up.

/// The thread did not come to its end: it panicked, or the program is ending.
#[derive(Debug, thiserror::Error)]
#[error("a thread was interrupted")]
pub struct Interrupted;

/// Runs `work`, and returns what it returns.
pub async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> anyhow::Result<T>
where
    T: Send + 'static,
    E: Into<anyhow::Error> + Send + 'static,
{
    on_thread(work).await?.map_err(Into::into)
}

/// Begins `work` at once, whether or not its result is awaited.
pub fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, Interrupted>> + Send {
    let thread = tokio::task::spawn_blocking(work);
    async move { thread.await.map_err(|_| Interrupted) }
}
