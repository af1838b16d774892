package rstest

// hashes are Redshift's hash functions as its documentation has them, whose examples a test holds them to: FNV-1a of 64 bits
// over the bytes of a value, and FarmHash's Fingerprint64. Ints of PostgreSQL know no overflow, so sums and products go by numerics.
const hashes = `;
CREATE FUNCTION pg_catalog.rs_wrap(n numeric) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT AS $$
	BEGIN
		n := mod(n, 18446744073709551616);
		IF n >= 9223372036854775808 THEN RETURN n - 18446744073709551616; ELSIF n < -9223372036854775808 THEN RETURN n + 18446744073709551616; END IF;
		RETURN n;
	END $$;
CREATE FUNCTION pg_catalog.rs_mul(a bigint, b bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT rs_wrap(a::numeric * b) $$;
CREATE FUNCTION pg_catalog.rs_add(a bigint, b bigint, c bigint DEFAULT 0, d bigint DEFAULT 0) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT rs_wrap(a::numeric + b + c + d) $$;
CREATE FUNCTION pg_catalog.rs_rot(x bigint, n integer) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT AS $$ BEGIN RETURN ((x >> n) & ((1::bigint << (64 - n)) - 1)) | (x << (64 - n)); END $$;
CREATE FUNCTION pg_catalog.rs_shift(x bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT AS $$ BEGIN RETURN x # ((x >> 47) & 131071); END $$;
CREATE FUNCTION pg_catalog.rs_at4(b bytea, at integer) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT AS $$
	BEGIN RETURN get_byte(b, at)::bigint | (get_byte(b, at + 1)::bigint << 8) | (get_byte(b, at + 2)::bigint << 16) | (get_byte(b, at + 3)::bigint << 24); END $$;
CREATE FUNCTION pg_catalog.rs_at(b bytea, at integer) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT AS $$ BEGIN RETURN rs_at4(b, at) | (rs_at4(b, at + 4) << 32); END $$;
CREATE FUNCTION pg_catalog.rs_len16(u bigint, v bigint, m bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT AS $$
	BEGIN RETURN rs_mul(rs_shift(rs_mul(v # rs_shift(rs_mul(u # v, m)), m)), m); END $$;
CREATE FUNCTION pg_catalog.rs_weak(b bytea, at integer, p bigint, q bigint, OUT f bigint, OUT s bigint) LANGUAGE plpgsql IMMUTABLE STRICT AS $$
	DECLARE w bigint := rs_at(b, at); x bigint := rs_at(b, at + 8); y bigint := rs_at(b, at + 16); z bigint := rs_at(b, at + 24); c bigint;
	BEGIN
		p := rs_add(p, w); q := rs_rot(rs_add(q, p, z), 21); c := p;
		p := rs_add(p, x, y); q := rs_add(q, rs_rot(p, 44));
		f := rs_add(p, z); s := rs_add(q, c);
	END $$;
CREATE FUNCTION pg_catalog.farmfingerprint64(b bytea) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT AS $$
	DECLARE
		k0 constant bigint := -4348849565147123417; k1 constant bigint := -5435081209227447693; k2 constant bigint := -7286425919675154353;
		len constant integer := length(b); m bigint := rs_add(k2, 2 * len);
		p bigint; q bigint; c bigint; d bigint; e bigint; f bigint; g bigint; h bigint; x bigint; y bigint; z bigint; v record; w record; at integer := 0; last integer;
	BEGIN
		IF len = 0 THEN RETURN k2; END IF;
		IF len < 4 THEN
			y := get_byte(b, 0) + (get_byte(b, len >> 1) << 8); z := len + (get_byte(b, len - 1) << 2);
			RETURN rs_mul(rs_shift(rs_mul(y, k2) # rs_mul(z, k0)), k2);
		END IF;
		IF len < 8 THEN RETURN rs_len16(len + (rs_at4(b, 0) << 3), rs_at4(b, len - 4), m); END IF;
		IF len <= 16 THEN
			p := rs_add(rs_at(b, 0), k2); q := rs_at(b, len - 8);
			RETURN rs_len16(rs_add(rs_mul(rs_rot(q, 37), m), p), rs_mul(rs_add(rs_rot(p, 25), q), m), m);
		END IF;
		IF len <= 64 THEN
			p := rs_mul(rs_at(b, 0), CASE WHEN len <= 32 THEN k1 ELSE k2 END); q := rs_at(b, 8); c := rs_mul(rs_at(b, len - 8), m); d := rs_mul(rs_at(b, len - 16), k2);
			y := rs_add(rs_rot(rs_add(p, q), 43), rs_rot(c, 30), d); z := rs_len16(y, rs_add(p, rs_rot(rs_add(q, k2), 18), c), m);
			IF len <= 32 THEN RETURN z; END IF;
			e := rs_mul(rs_at(b, 16), m); f := rs_at(b, 24); g := rs_mul(rs_add(y, rs_at(b, len - 32)), m); h := rs_mul(rs_add(z, rs_at(b, len - 24)), m);
			RETURN rs_len16(rs_add(rs_rot(rs_add(e, f), 43), rs_rot(g, 30), h), rs_add(e, rs_rot(rs_add(f, p), 18), g), m);
		END IF;
		y := rs_add(rs_mul(81, k1), 113); z := rs_mul(rs_shift(rs_add(rs_mul(y, k2), 113)), k2); x := rs_add(rs_mul(81, k2), rs_at(b, 0));
		SELECT 0::bigint AS f, 0::bigint AS s INTO v; w := v; last := ((len - 1) / 64) * 64;
		WHILE at < last LOOP
			x := rs_mul(rs_rot(rs_add(x, y, v.f, rs_at(b, at + 8)), 37), k1) # w.s; y := rs_add(rs_mul(rs_rot(rs_add(y, v.s, rs_at(b, at + 48)), 42), k1), v.f, rs_at(b, at + 40));
			z := rs_mul(rs_rot(rs_add(z, w.f), 33), k1);
			v := rs_weak(b, at, rs_mul(v.s, k1), rs_add(x, w.f)); w := rs_weak(b, at + 32, rs_add(z, w.s), rs_add(y, rs_at(b, at + 16)));
			c := z; z := x; x := c; at := at + 64;
		END LOOP;
		m := rs_add(k1, (z & 255) << 1); at := len - 64;
		w.f := rs_add(w.f, (len - 1) & 63); v.f := rs_add(v.f, w.f); w.f := rs_add(w.f, v.f);
		x := rs_mul(rs_rot(rs_add(x, y, v.f, rs_at(b, at + 8)), 37), m) # rs_mul(w.s, 9); y := rs_add(rs_mul(rs_rot(rs_add(y, v.s, rs_at(b, at + 48)), 42), m), rs_mul(v.f, 9), rs_at(b, at + 40));
		z := rs_mul(rs_rot(rs_add(z, w.f), 33), m);
		v := rs_weak(b, at, rs_mul(v.s, m), rs_add(x, w.f)); w := rs_weak(b, at + 32, rs_add(z, w.s), rs_add(y, rs_at(b, at + 16)));
		RETURN rs_len16(rs_add(rs_len16(v.f, w.f, m), rs_mul(rs_shift(y), k0), x), rs_add(rs_len16(v.s, w.s, m), z), m);
	END $$;
CREATE FUNCTION pg_catalog.farmfingerprint64(text) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT farmfingerprint64(convert_to($1, 'UTF8')) $$;
CREATE FUNCTION pg_catalog.rs_fnv(b bytea, h bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT AS $$
	BEGIN
		FOR i IN 0 .. length(b) - 1 LOOP h := rs_mul(h # get_byte(b, i), 1099511628211); END LOOP;
		RETURN h;
	END $$;
CREATE FUNCTION pg_catalog.rs_turned(b bytea) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT AS $$
	DECLARE t bytea := b;
	BEGIN
		FOR i IN 0 .. length(b) - 1 LOOP t := set_byte(t, i, get_byte(b, length(b) - 1 - i)); END LOOP;
		RETURN t;
	END $$;
CREATE FUNCTION pg_catalog.fnv_hash(integer, bigint DEFAULT -3750763034362895579) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT rs_fnv(rs_turned(int4send($1)), $2) $$;
CREATE FUNCTION pg_catalog.fnv_hash(bigint, bigint DEFAULT -3750763034362895579) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT rs_fnv(rs_turned(int8send($1)), $2) $$;
CREATE FUNCTION pg_catalog.fnv_hash(double precision, bigint DEFAULT -3750763034362895579) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT rs_fnv(rs_turned(float8send($1)), $2) $$;
CREATE FUNCTION pg_catalog.fnv_hash(text, bigint DEFAULT -3750763034362895579) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT rs_fnv(convert_to($1, 'UTF8'), $2) $$;
CREATE FUNCTION pg_catalog.json_serialize_to_varbyte(jsonb) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT convert_to($1::text, 'UTF8') $$`
