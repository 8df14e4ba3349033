{# The parameter {embedding}, refused in words where it is another model's. Being a scalar subquery, it is evaluated while
   ClickHouse plans, so that the index is used. #}
{% macro own_vector() -%}
(SELECT if(throwIf(length({embedding:Array(Float32)}) != {{ dimension }}, {{ ('embedding must have ' ~ dimension ~ ' numbers: this view searches ' ~ searched) | literal }}) = 0, {embedding:Array(Float32)}, []))
{%- endmacro %}
