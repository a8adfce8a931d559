//! The functions of the C library through which a thread learns time and chance, defined again.
//!
//! The linker prefers these definitions to those of the shared C library, for the standard library
//! and every crate of the executable, and exports them to `dlsym`. Each asks the calling thread's
//! [`capture`](super::capture) and, where that declines, calls the real function.
//!
//! They may be called before `main`, from signal handlers and while a thread ends, so they neither
//! lock nor panic, and touch only thread-locals that exist by themselves.

use std::ffi::{CStr, c_int, c_long, c_uint, c_void};
use std::mem;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::{clockid_t, pthread_attr_t, pthread_t, size_t, ssize_t, timespec};

use super::capture;

type GetRandom = unsafe extern "C" fn(*mut c_void, size_t, c_uint) -> ssize_t;
type GetEntropy = unsafe extern "C" fn(*mut c_void, size_t) -> c_int;
type ClockGetTime = unsafe extern "C" fn(clockid_t, *mut timespec) -> c_int;
type Syscall = unsafe extern "C" fn(c_long, ...) -> c_long;
type StartRoutine = extern "C" fn(*mut c_void) -> *mut c_void;
type PthreadCreate =
    unsafe extern "C" fn(*mut pthread_t, *const pthread_attr_t, StartRoutine, *mut c_void) -> c_int;

/// The most that `getentropy` gives in one call.
const GETENTROPY_MAX_BYTES: size_t = 256;

// The addresses are the same for every thread and run, so these statics carry nothing from one run
// to the next.
static GETRANDOM: Real = Real::new(c"getrandom");
static GETENTROPY: Real = Real::new(c"getentropy");
static CLOCK_GETTIME: Real = Real::new(c"clock_gettime");
static SYSCALL: Real = Real::new(c"syscall");
static PTHREAD_CREATE: Real = Real::new(c"pthread_create");

/// Checks that the hooks are the definitions which this process finds by name, and makes the linker
/// take them into every executable that makes a capture.
///
/// # Errors
///
/// The first function that is found elsewhere.
pub(super) fn verify() -> Result<(), &'static str> {
    let hooks = [
        (
            c"getrandom",
            "getrandom",
            getrandom as GetRandom as *const c_void,
        ),
        (
            c"getentropy",
            "getentropy",
            getentropy as GetEntropy as *const c_void,
        ),
        (
            c"clock_gettime",
            "clock_gettime",
            clock_gettime as ClockGetTime as *const c_void,
        ),
        (c"syscall", "syscall", syscall as *const c_void),
        (
            c"pthread_create",
            "pthread_create",
            pthread_create as PthreadCreate as *const c_void,
        ),
    ];
    for (symbol, name, hook) in hooks {
        // SAFETY: the name ends with a nul byte, and looking it up has no other precondition.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, symbol.as_ptr()) };
        if !ptr::eq(found, hook) {
            return Err(name);
        }
    }
    Ok(())
}

/// `getrandom(2)`.
///
/// # Safety
///
/// `buffer` is valid for writes of `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: size_t, flags: c_uint) -> ssize_t {
    // SAFETY: the caller's promise, passed on.
    if unsafe { fill(buffer, length) } {
        return length.cast_signed();
    }
    // SAFETY: the type is the C library's prototype.
    let Some(real) = (unsafe { GETRANDOM.function::<GetRandom>() }) else {
        return fail(libc::ENOSYS) as ssize_t;
    };
    // SAFETY: the caller's promise, passed on.
    let drawn = unsafe { real(buffer, length, flags) };
    if let Ok(drawn) = size_t::try_from(drawn) {
        // SAFETY: the real function has written `drawn` bytes there.
        unsafe { record(buffer, drawn) };
    }
    drawn
}

/// `getentropy(3)`.
///
/// # Safety
///
/// `buffer` is valid for writes of `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getentropy(buffer: *mut c_void, length: size_t) -> c_int {
    // SAFETY: the caller's promise, passed on.
    if length <= GETENTROPY_MAX_BYTES && unsafe { fill(buffer, length) } {
        return 0;
    }
    // SAFETY: the type is the C library's prototype.
    let Some(real) = (unsafe { GETENTROPY.function::<GetEntropy>() }) else {
        return fail(libc::ENOSYS);
    };
    // SAFETY: the caller's promise, passed on.
    let result = unsafe { real(buffer, length) };
    if result == 0 {
        // SAFETY: the real function has written `length` bytes there.
        unsafe { record(buffer, length) };
    }
    result
}

/// `clock_gettime(2)`.
///
/// # Safety
///
/// `time` is null or valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    if !time.is_null()
        && let Some(reading) = capture::read_clock(clock)
    {
        let reading = timespec {
            tv_sec: reading.as_secs().cast_signed(),
            tv_nsec: c_long::from(reading.subsec_nanos()),
        };
        // SAFETY: it is not null, so by the caller's promise valid for a write.
        unsafe { time.write(reading) };
        return 0;
    }
    // SAFETY: the type is the C library's prototype.
    match unsafe { CLOCK_GETTIME.function::<ClockGetTime>() } {
        // SAFETY: the caller's promise, passed on.
        Some(real) => unsafe { real(clock, time) },
        None => fail(libc::ENOSYS),
    }
}

/// `syscall(2)`, by which getrandom 0.2, and with it ring and rand 0.8, draws.
///
/// The C prototype is variadic. On x86-64 and aarch64 Linux integer arguments of a variadic
/// function travel in the same registers as those of this one, and no system call takes more than
/// six; the ones that the caller left out are read as whatever the registers hold and passed on, as
/// the C library's own definition does.
///
/// # Safety
///
/// The arguments are what the system call asks for.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    first: c_long,
    second: c_long,
    third: c_long,
    fourth: c_long,
    fifth: c_long,
    sixth: c_long,
) -> c_long {
    #[allow(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "a register is read as the type that this system call gives it"
    )]
    match number {
        // SAFETY: the arguments are those of this system call, by the caller's promise.
        libc::SYS_getrandom => unsafe {
            return getrandom(first as *mut c_void, second as size_t, third as c_uint) as c_long;
        },
        // SAFETY: as above.
        libc::SYS_clock_gettime => unsafe {
            return c_long::from(clock_gettime(first as clockid_t, second as *mut timespec));
        },
        _ => {}
    }
    // SAFETY: the type is the C library's prototype.
    match unsafe { SYSCALL.function::<Syscall>() } {
        // SAFETY: the caller's promise, passed on.
        Some(real) => unsafe { real(number, first, second, third, fourth, fifth, sixth) },
        None => c_long::from(fail(libc::ENOSYS)),
    }
}

/// `pthread_create(3)`, which gives its error as its result and leaves `errno` alone.
///
/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    start: StartRoutine,
    argument: *mut c_void,
) -> c_int {
    if capture::refuse_thread() {
        return libc::EAGAIN;
    }
    // SAFETY: the type is the C library's prototype.
    match unsafe { PTHREAD_CREATE.function::<PthreadCreate>() } {
        // SAFETY: the caller's promise, passed on.
        Some(real) => unsafe { real(thread, attributes, start, argument) },
        None => libc::ENOSYS,
    }
}

/// Fills the buffer from the seed and notes the draw. `false`, with nothing written, where the real
/// function is to be called: on other threads, and for null, whose error is the real one's to give.
///
/// # Safety
///
/// `buffer` is null or valid for writes of `length` bytes.
unsafe fn fill(buffer: *mut c_void, length: size_t) -> bool {
    if buffer.is_null() || length == 0 || !capture::is_entropy_captured() {
        return false;
    }
    // SAFETY: it is valid for writes of this length; the zeros make it initialised, as a slice
    // must be.
    let bytes = unsafe {
        ptr::write_bytes(buffer.cast::<u8>(), 0, length);
        slice::from_raw_parts_mut(buffer.cast::<u8>(), length)
    };
    let filled = capture::fill_entropy(bytes);
    if filled {
        capture::record_draw(bytes);
    }
    filled
}

/// Notes a draw that the real function has made.
///
/// # Safety
///
/// `buffer` holds `length` initialised bytes.
unsafe fn record(buffer: *const c_void, length: size_t) {
    if !buffer.is_null() && length > 0 {
        // SAFETY: the caller's promise.
        capture::record_draw(unsafe { slice::from_raw_parts(buffer.cast::<u8>(), length) });
    }
}

/// Sets `errno` and gives the result that tells to read it.
fn fail(errno: c_int) -> c_int {
    // SAFETY: the C library gives each thread a valid place for its `errno`.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// A function of the C library behind one of the hooks, looked up when it is first needed.
struct Real {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
}

impl Real {
    const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            address: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The real function, `None` if the C library has none of this name. Threads that race here
    /// find the same address.
    ///
    /// # Safety
    ///
    /// `F` is the function's type, as an `extern "C"` function pointer.
    unsafe fn function<F: Copy>(&self) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        let mut address = self.address.load(Ordering::Acquire);
        if address.is_null() {
            // SAFETY: the name ends with a nul byte, and looking it up has no other precondition.
            address = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
            self.address.store(address, Ordering::Release);
        }
        if address.is_null() {
            return None;
        }
        // SAFETY: it is not null, has the size of a pointer, and by the caller's promise is a
        // function of this type.
        Some(unsafe { mem::transmute_copy::<*mut c_void, F>(&address) })
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::super::capture::{Capture, take_entropy_draws};
    use super::super::plug::{Plug, Plugs};
    use super::*;
    use crate::seed::Seed;

    fn errno() -> Option<c_int> {
        io::Error::last_os_error().raw_os_error()
    }

    #[test]
    fn errors_are_the_real_ones_on_a_captured_thread() {
        let _capture = Capture::enter(Seed::new(1), Plugs::all()).expect("a fresh thread");
        let mut buffer = [0_u8; GETENTROPY_MAX_BYTES + 1];
        // SAFETY: the buffer is as long as it is said to be; the other arguments are not followed.
        unsafe {
            assert_eq!(
                libc::getentropy(buffer.as_mut_ptr().cast(), buffer.len()),
                -1
            );
            assert_eq!(errno(), Some(libc::EIO));
            assert_eq!(libc::getrandom(ptr::null_mut(), 8, 0), -1);
            assert_eq!(errno(), Some(libc::EFAULT));
            let mut time = mem::zeroed();
            assert_eq!(libc::clock_gettime(4711, &raw mut time), -1);
            assert_eq!(errno(), Some(libc::EINVAL));
            assert_eq!(libc::syscall(libc::SYS_close, -1), -1);
            assert_eq!(errno(), Some(libc::EBADF));
        }
        assert_eq!(take_entropy_draws(), []);
    }

    #[test]
    fn asking_whether_the_call_exists_is_no_draw() {
        let _capture = Capture::enter(Seed::new(1), Plugs::all()).expect("a fresh thread");
        // SAFETY: no byte is written.
        unsafe {
            assert_eq!(libc::getrandom(ptr::dangling_mut(), 0, 0), 0);
            assert_eq!(
                libc::syscall(libc::SYS_getrandom, ptr::dangling_mut::<u8>(), 0, 0),
                0
            );
        }
        assert_eq!(take_entropy_draws(), []);
    }

    #[test]
    fn every_way_of_drawing_takes_from_one_stream() {
        let draw_all = || {
            let mut bytes = [[0_u8; 8]; 3];
            let [first, second, third] = &mut bytes;
            // SAFETY: each buffer has the length that is given with it.
            unsafe {
                libc::getrandom(first.as_mut_ptr().cast(), 8, 0);
                libc::getentropy(second.as_mut_ptr().cast(), 8);
                libc::syscall(libc::SYS_getrandom, third.as_mut_ptr(), 8, 0);
            }
            bytes.map(u64::from_le_bytes)
        };
        let capture = Capture::enter(Seed::new(1), Plugs::all()).expect("a fresh thread");
        let drawn = draw_all();
        let reported: Vec<u64> = take_entropy_draws().iter().map(|draw| draw.head).collect();
        assert_eq!(reported, drawn);
        drop(capture);

        let leaky = Plugs::all().without(Plug::Entropy);
        let _capture = Capture::enter(Seed::new(1), leaky).expect("the first has ended");
        let leaked = draw_all();
        assert_ne!(leaked, drawn);
        let reported: Vec<u64> = take_entropy_draws().iter().map(|draw| draw.head).collect();
        assert_eq!(reported, leaked, "a leak is reported with its real bytes");
    }
}
