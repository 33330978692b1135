# Sets `remap`, a setting for cargo, and what C compilers read, so that paths of the machine that
# builds do not get into what is built. Sourced with the source and the build directory; alone it does
# nothing. Given as a setting the flags join those of .cargo/config.toml; RUSTFLAGS would replace them.
remap_cargo_home=${CARGO_HOME:-$HOME/.cargo}
remap_sysroot=$(rustc --print sysroot)
remap="target.'cfg(all())'.rustflags=["
for remap_pair in "$remap_cargo_home=/cargo" "$remap_sysroot=/rust" "$1=/hive" "$2=/target"; do
    remap="$remap'--remap-path-prefix=$remap_pair',"
    CFLAGS="${CFLAGS:-} -ffile-prefix-map=$remap_pair"
    CXXFLAGS="${CXXFLAGS:-} -ffile-prefix-map=$remap_pair"
done
remap="$remap]"
export CFLAGS CXXFLAGS
