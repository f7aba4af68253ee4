-- What Redshift has and PostgreSQL has not, as far as syncline's SQL uses it. README.md says what this cannot show.
create schema redshift;

create domain redshift.super as jsonb;
create domain redshift.geometry as text;
create domain redshift.hllsketch as text;

-- Texts of more than 65,535 bytes are errors, in the middle of an expression too.
create function redshift.checked(value text) returns text language plpgsql immutable as $$
begin
  if octet_length(value) > 65535 then raise exception 'Result size exceeds the maximum of a VARCHAR'; end if;
  return value;
end $$;
create function redshift.concat_checked(a text, b text) returns text language sql immutable
  as $$ select redshift.checked(a operator(pg_catalog.||) b) $$;
create operator redshift.|| (leftarg = text, rightarg = text, function = redshift.concat_checked);
create function redshift.replace(value text, old text, new text) returns text language sql immutable
  as $$ select redshift.checked(pg_catalog.replace(value, old, new)) $$;

create function redshift.object(variadic "any") returns jsonb language internal immutable as 'jsonb_build_object';
create function redshift.json_parse(value text) returns jsonb language sql immutable as $$ select value::jsonb $$;
create function redshift.can_json_parse(value text) returns boolean language plpgsql immutable as $$
begin
  return value::jsonb is not null;
exception when others then return false;
end $$;
-- PostgreSQL puts blanks after colons and commas, Redshift does not.
create function redshift.compact(value jsonb) returns text language plpgsql immutable as $$
begin
  return case jsonb_typeof(value)
    when 'object' then '{' operator(pg_catalog.||) coalesce((
      select string_agg(to_json(key)::text operator(pg_catalog.||) ':' operator(pg_catalog.||) redshift.compact(item), ',' order by place)
      from jsonb_each(value) with ordinality as e(key, item, place)), '') operator(pg_catalog.||) '}'
    when 'array' then '[' operator(pg_catalog.||) coalesce((
      select string_agg(redshift.compact(item), ',' order by place)
      from jsonb_array_elements(value) with ordinality as e(item, place)), '') operator(pg_catalog.||) ']'
    else value::text end;
end $$;
create function redshift.json_serialize(value jsonb) returns text language sql immutable
  as $$ select redshift.checked(redshift.compact(value)) $$;
create function redshift.json_size(value jsonb) returns integer language sql immutable
  as $$ select octet_length(redshift.compact(value)) $$;
create function redshift.json_serialize_to_varbyte(value jsonb) returns bytea language sql immutable
  as $$ select convert_to(redshift.compact(value), 'UTF8') $$;
create function redshift.json_extract_path_text(value text, key text) returns text language sql immutable
  as $$ select value::json ->> key $$;

-- Not FarmHash: 64 bits of md5, which is enough to tell texts apart.
create function redshift.farmfingerprint64(value text) returns bigint language sql immutable
  as $$ select ('x' operator(pg_catalog.||) left(md5(value), 16))::bit(64)::bigint $$;
create function redshift.farmfingerprint64(value bytea) returns bigint language sql immutable
  as $$ select ('x' operator(pg_catalog.||) left(md5(value), 16))::bit(64)::bigint $$;

-- Whole seconds, as the documentation shows it.
create function redshift.getdate() returns timestamp language sql stable
  as $$ select date_trunc('second', statement_timestamp() at time zone 'UTC') $$;

create view redshift.svv_columns as
select table_catalog::text, table_schema::text, table_name::text, column_name::text, ordinal_position::integer,
  coalesce(case when domain_schema = 'redshift' then domain_name::text end, data_type::text) as data_type,
  character_maximum_length::integer, numeric_precision::integer, numeric_scale::integer
from information_schema.columns;
