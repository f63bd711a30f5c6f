//! The filter, run by a small interpreter of the instructions that it uses.

use super::*;

#[cfg(target_arch = "x86_64")]
const AARCH_OTHER: u32 = 0x4000_0003;
#[cfg(not(target_arch = "x86_64"))]
const AARCH_OTHER: u32 = 0xc000_003e;

/// What the kernel would do with a call.
fn decide(program: &BpfProgram, architecture: u32, call: u32, arguments: [u64; 6]) -> u32 {
    let mut accumulator = 0_u32;
    let mut at = 0;
    // A filter has no loops: it ends within its own length.
    for _ in 0..program.len() {
        let step = &program[at];
        at += 1;
        match step.code {
            LOAD => {
                accumulator = match step.k {
                    CALL => call,
                    ARCHITECTURE => architecture,
                    offset => {
                        let argument = usize::try_from((offset - ARGUMENTS) / 8).expect("small");
                        u32::try_from(arguments[argument] & 0xffff_ffff).expect("masked")
                    }
                }
            }
            AND => accumulator &= step.k,
            JUMP_IF_EQUAL => at += usize::from(if accumulator == step.k { step.jt } else { step.jf }),
            JUMP_IF_AT_LEAST => at += usize::from(if accumulator >= step.k { step.jt } else { step.jf }),
            JUMP => at += usize::try_from(step.k).expect("small"),
            RETURN => return step.k,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
    panic!("the filter fell off its end")
}

fn ours(call: c_long, arguments: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    decide(&program(), OUR_ARCHITECTURE, number(call), all)
}

#[test]
fn m4_what_node_and_python_need_are_at_most_90_calls_and_all_together_far_fewer_than_dockers_294() {
    let guards: Vec<Guarded> = guarded().into_iter().filter(|guard| !guard.when.is_empty()).collect();
    assert!(ALLOWED.len() + ALLOWED_OLD.len() + guards.len() <= 90);
    let mut calls: Vec<c_long> = unconditional().chain(guards.iter().map(|guard| guard.call)).collect();
    let listed = calls.len();
    calls.sort_unstable();
    calls.dedup();
    println!(
        "{} system calls allowed, {} of them by their arguments; {} instructions",
        calls.len(),
        guards.len(),
        program().len()
    );
    assert_eq!(calls.len(), listed, "a call is listed twice");
    assert!(calls.len() <= 175);
    assert!(guards.len() >= 6);
    assert!(calls.iter().all(|call| !DANGEROUS.contains(call) && !KILLED.contains(call)));
    assert!(DANGEROUS.iter().all(|call| !KILLED.contains(call)));
}

#[test]
fn every_call_gets_the_answer_of_its_class() {
    let errno = |number: i32| RETURN_ERRNO | number.cast_unsigned();
    for call in unconditional() {
        assert_eq!(ours(call, &[]), RETURN_ALLOW, "call {call}");
    }
    for call in KILLED {
        assert_eq!(ours(*call, &[]), RETURN_KILL, "call {call}");
    }
    for call in DANGEROUS {
        assert_eq!(ours(*call, &[]), errno(libc::EPERM), "call {call}");
    }
    for call in [
        libc::SYS_clone3,
        libc::SYS_rseq,
        libc::SYS_memfd_create,
        libc::SYS_timer_create,
        libc::SYS_inotify_init1,
        600,
        9999,
    ] {
        assert_eq!(ours(call, &[]), errno(libc::ENOSYS), "call {call}");
    }
}

#[test]
fn guarded_calls_depend_on_their_arguments() {
    let errno = |number: i32| RETURN_ERRNO | number.cast_unsigned();
    let wide = |value: libc::c_int| u64::from(value.cast_unsigned());
    let thread = wide(libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD);
    let cases: Vec<(c_long, Vec<u64>, u32)> = vec![
        (libc::SYS_clone, vec![thread], RETURN_ALLOW),
        (libc::SYS_clone, vec![wide(libc::SIGCHLD)], RETURN_ALLOW),
        (libc::SYS_clone, vec![wide(libc::CLONE_NEWUSER | libc::SIGCHLD)], errno(libc::EPERM)),
        (libc::SYS_clone, vec![wide(libc::CLONE_NEWNET)], errno(libc::EPERM)),
        (libc::SYS_socket, vec![wide(libc::AF_UNIX), wide(libc::SOCK_STREAM), 0], RETURN_ALLOW),
        (libc::SYS_socket, vec![wide(libc::AF_INET6), wide(libc::SOCK_DGRAM | libc::SOCK_CLOEXEC), 0], RETURN_ALLOW),
        (libc::SYS_socket, vec![wide(libc::AF_INET), wide(libc::SOCK_RAW), 1], errno(libc::EAFNOSUPPORT)),
        (libc::SYS_socket, vec![wide(libc::AF_NETLINK), wide(libc::SOCK_RAW), 0], RETURN_ALLOW),
        (libc::SYS_socket, vec![wide(libc::AF_NETLINK), wide(libc::SOCK_RAW), 9], errno(libc::EAFNOSUPPORT)),
        (libc::SYS_socket, vec![wide(libc::AF_ALG), wide(libc::SOCK_SEQPACKET), 0], errno(libc::EAFNOSUPPORT)),
        (libc::SYS_socket, vec![wide(libc::AF_VSOCK), wide(libc::SOCK_STREAM), 0], errno(libc::EAFNOSUPPORT)),
        (libc::SYS_socket, vec![wide(libc::AF_INET), wide(libc::SOCK_STREAM), 6], RETURN_ALLOW),
        (libc::SYS_socket, vec![wide(libc::AF_INET), wide(libc::SOCK_STREAM), 262], errno(libc::EAFNOSUPPORT)),
        (libc::SYS_socket, vec![wide(libc::AF_INET6), wide(libc::SOCK_DGRAM), 136], errno(libc::EAFNOSUPPORT)),
        (libc::SYS_fcntl, vec![3, wide(libc::F_SETLKW)], RETURN_ALLOW),
        (libc::SYS_fcntl, vec![3, wide(libc::F_NOTIFY)], errno(libc::EINVAL)),
        (libc::SYS_ioctl, vec![1, 0x5401], RETURN_ALLOW),
        (libc::SYS_ioctl, vec![1, 0x5412], errno(libc::ENOTTY)),
        (libc::SYS_ioctl, vec![1, 0x541c], errno(libc::ENOTTY)),
        (libc::SYS_prctl, vec![wide(libc::PR_SET_NAME)], RETURN_ALLOW),
        (libc::SYS_prctl, vec![wide(libc::PR_SET_SECCOMP)], errno(libc::EPERM)),
        (libc::SYS_futex, vec![0, 0x80 | 1], RETURN_ALLOW),
        (libc::SYS_futex, vec![0, 0x80 | 6], errno(libc::ENOSYS)),
        (libc::SYS_futex, vec![0, 12], errno(libc::ENOSYS)),
        (libc::SYS_setsockopt, vec![3, wide(libc::IPPROTO_TCP), wide(libc::TCP_NODELAY)], RETURN_ALLOW),
        (libc::SYS_setsockopt, vec![3, wide(libc::IPPROTO_TCP), wide(libc::TCP_ULP)], errno(libc::ENOPROTOOPT)),
        (libc::SYS_setsockopt, vec![3, wide(libc::SOL_SOCKET), wide(libc::SO_ATTACH_FILTER)], errno(libc::ENOPROTOOPT)),
        (libc::SYS_prlimit64, vec![0, 7], RETURN_ALLOW),
        (libc::SYS_prlimit64, vec![1, 7], errno(libc::EPERM)),
        (libc::SYS_sendfile, vec![1, 3], errno(libc::EINVAL)),
        (libc::SYS_clock_nanosleep, vec![1], RETURN_ALLOW),
        (libc::SYS_clock_nanosleep, vec![2], errno(libc::EINVAL)),
    ];
    for (call, arguments, expect) in cases {
        assert_eq!(ours(call, &arguments), expect, "call {call} {arguments:x?}");
    }
}

#[test]
fn other_call_tables_are_killed() {
    let program = program();
    assert_eq!(decide(&program, AARCH_OTHER, number(libc::SYS_read), [0; 6]), RETURN_KILL);
    assert_eq!(decide(&program, OUR_ARCHITECTURE, X32 | number(libc::SYS_read), [0; 6]), RETURN_KILL);
    assert_eq!(decide(&program, OUR_ARCHITECTURE, u32::MAX, [0; 6]), RETURN_KILL);
}
