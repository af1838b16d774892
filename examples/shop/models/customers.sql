-- primary_key: customer_id
-- One row per customer: who they are (from the website) and what they are worth (from the order service).
select
    u.id                                as customer_id,
    u.email                             as email,
    u.first_name                        as first_name,
    u.last_name                         as last_name,
    u.plan                              as plan,
    count(o.id)                         as orders,
    coalesce(sum(o.total), 0)::decimal(18, 2) as lifetime_value,
    max(o.ordered_at)                   as last_order_at
from web.users u
left join orders.order_completed o on o.user_id = u.id
where u.email is not null
group by all
