{{ config(materialized='view') }}
select user_id, total, timestamp as ordered_at
from {{ source('web', 'order_completed') }}
where total is not null
